"""Select the training and evaluation ROIs of runs and put them in datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mtl_jax.data.array_rows import Rows
from mtl_jax.experiments import splits
from mtl_jax.experiments.inner_set import draw_inner, reject_empty
from mtl_jax.training.dataset import Dataset, make_dataset, pixel_statistics
from mtl_jax.types import RoiSet, Run

RowsByTask = Mapping[str, np.ndarray]


class Subset(NamedTuple):
    """The ROIs of a run: rows of each collection in its training set and in its evaluation set, and
    the mean and standard deviation of the training pixels of each collection, (t,) float32.

    `inner` are rows of training cases that are not trained on: they decide when to stop.
    """

    training: RowsByTask
    evaluation: RowsByTask
    mean: np.ndarray
    std: np.ndarray
    inner: RowsByTask


def subset_key(run: Run) -> Run:
    """Return `run` without its initialization, unless that is the seed of its subset of cases.

    Runs that differ in initialization alone then share one subset.
    """
    return replace(run, initialization=0) if run.target_cases is None else run


def make_subsets(
    runs: Sequence[Run],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    inner_fraction: float = 0.0,
) -> dict[Run, Subset]:
    """Return the ROIs of `runs` by `subset_key`; InputError if a run cannot be trained on them.

    `inner_fraction` of the training patients of the first task are the inner set.
    """
    subsets: dict[Run, Subset] = {}
    for run in runs:
        splits.reject_unfit(run, collections, split)
        if subset_key(run) in subsets:
            continue
        training, evaluation = splits.run_rows(run, collections, split)
        training, inner = draw_inner(run, training, collections, inner_fraction, split.seed)
        reject_empty(run, training)
        tables = [Rows(collections[name].shards).take(training[name]) for name in run.tasks]
        subsets[subset_key(run)] = Subset(training, evaluation, *pixel_statistics(tables), inner)
    return subsets


def training_dataset(
    subsets: Mapping[Run, Subset], collections: Mapping[str, RoiSet], stream: str
) -> tuple[Dataset, dict[Run, range]]:
    """Return one dataset of all training sets, and the rows of each; all have the same tasks."""
    sizes = [sum(map(len, subset.training.values())) for subset in subsets.values()]
    ends = np.cumsum(sizes).tolist()
    ranges = map(range, [0, *ends[:-1]], ends)
    tables = [(subset.training, subset) for subset in subsets.values()]
    return _make_dataset(tables, collections, stream), dict(zip(subsets, ranges, strict=True))


def evaluation_dataset(subset: Subset, collections: Mapping[str, RoiSet], stream: str) -> Dataset:
    """Return the evaluation set, standardized by the statistics of the training set."""
    return _make_dataset([(subset.evaluation, subset)], collections, stream)


def inner_dataset(subset: Subset, collections: Mapping[str, RoiSet], stream: str) -> Dataset:
    """Return the inner set, standardized by the statistics of the training set."""
    return _make_dataset([(subset.inner, subset)], collections, stream)


def split_by_task(scores: np.ndarray, rows: RowsByTask) -> dict[str, np.ndarray]:
    """Split the scores of the `rows` of all tasks, in their order, into those of each task."""
    sizes = [len(task_rows) for task_rows in rows.values()]
    return dict(zip(rows, np.split(scores, np.cumsum(sizes)[:-1]), strict=True))


def _make_dataset(
    tables: Sequence[tuple[RowsByTask, Subset]], collections: Mapping[str, RoiSet], stream: str
) -> Dataset:
    """Return one dataset of these rows, each standardized by the statistics of its subset."""
    tasks = list(tables[0][0])
    task_rows = [(name, rows) for by_task, _ in tables for name, rows in by_task.items()]
    return make_dataset(
        [Rows(collections[name].shards).take(rows) for name, rows in task_rows],
        [collections[name].index["label"][rows].astype(int) for name, rows in task_rows],
        np.concatenate([subset.mean for _, subset in tables]),
        np.concatenate([subset.std for _, subset in tables]),
        stream,
        [tasks.index(name) for name, _ in task_rows],
    )
