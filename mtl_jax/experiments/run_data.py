"""Which ROIs a run learns and is scored on, and the pools that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mtl_jax.data.array_rows import Rows
from mtl_jax.experiments import splits
from mtl_jax.training.dataset import Dataset, make_dataset, pixel_statistics
from mtl_jax.types import RoiSet, Run

RowsByTask = Mapping[str, np.ndarray]


class Subset(NamedTuple):
    """Rows of each collection that are learned, and that are scored; and of each collection the
    mean and standard deviation of the pixels learned, (t,) float32."""

    learned: RowsByTask
    scored: RowsByTask
    mean: np.ndarray
    std: np.ndarray


def subset_key(run: Run) -> Run:
    """Return the same for all runs that have one subset: but for a draw of fewer cases it does not
    depend on the initialization."""
    return replace(run, initialization=0) if run.target_cases is None else run


def make_subsets(
    runs: Sequence[Run], collections: Mapping[str, RoiSet], split: splits.Split
) -> dict[Run, Subset]:
    """Return those of `runs`, which have the same tasks, by `subset_key`. InputError: nothing to
    learn."""
    found: dict[Run, Subset] = {}
    for run in runs:
        splits.reject_unfit(run, collections, split)
        if subset_key(run) in found:
            continue
        learned, scored = splits.run_rows(run, collections, split)
        tables = [Rows(collections[name].shards).take(learned[name]) for name in run.tasks]
        found[subset_key(run)] = Subset(learned, scored, *pixel_statistics(tables))
    return found


def training_dataset(
    subsets: Mapping[Run, Subset], collections: Mapping[str, RoiSet], stream: str
) -> tuple[Dataset, dict[Run, range]]:
    """Return one pool of what all of them learn, and where in it each one's ROIs lie."""
    ends = np.cumsum([sum(map(len, each.learned.values())) for each in subsets.values()]).tolist()
    pool = _make_dataset([(each.learned, each) for each in subsets.values()], collections, stream)
    return pool, dict(zip(subsets, map(range, [0, *ends[:-1]], ends), strict=True))


def evaluation_dataset(subset: Subset, collections: Mapping[str, RoiSet], stream: str) -> Dataset:
    """Return a pool of what is scored, standardized as what was learned."""
    return _make_dataset([(subset.scored, subset)], collections, stream)


def split_by_task(scores: np.ndarray, rows: RowsByTask) -> dict[str, np.ndarray]:
    """Return the scores of each task's `rows`, of which there are as many in all."""
    parts = np.split(scores, np.cumsum([len(own) for own in rows.values()])[:-1])
    return dict(zip(rows, parts, strict=True))


def _make_dataset(
    chosen: Sequence[tuple[RowsByTask, Subset]], collections: Mapping[str, RoiSet], stream: str
) -> Dataset:
    tasks = list(chosen[0][0])
    tables = [(name, rows) for by_name, _ in chosen for name, rows in by_name.items()]
    return make_dataset(
        [Rows(collections[name].shards).take(rows) for name, rows in tables],
        [collections[name].index["label"][rows].astype(int) for name, rows in tables],
        np.concatenate([subset.mean for _, subset in chosen]),
        np.concatenate([subset.std for _, subset in chosen]),
        stream,
        [tasks.index(name) for name, _ in tables],
    )
