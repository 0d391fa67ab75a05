"""Which trained networks of a study the analyses look into, and on which ROIs. It looks at
nothing itself."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mtl_jax.analysis import write_results
from mtl_jax.analysis.analyse import AnalysisInputs, TrainedNetwork, analyse
from mtl_jax.experiments import splits
from mtl_jax.experiments.provenance import digest
from mtl_jax.experiments.scores import Scores
from mtl_jax.models.base import Network
from mtl_jax.training import checkpoint
from mtl_jax.types import RoiSet, Run


def run_analyses(
    folder: Path,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    build: Callable[..., Network],
    settings: ConfigDict,
    seed: int,
    made_from: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write `folder`/analysis/ for the first run of each approach that is tested on the target:
    the one on the test set, or that of the first fold. All are shown the same ROIs.
    `build(outputs=n)` makes the network of the runs. What stands there stays as long as
    `made_from`, the provenance of each run, is the same."""
    first: dict[str, Run] = {}
    for run in runs:
        if run.tasks[0] == split.target:
            first.setdefault(run.approach, run)
    if not first:
        return
    run = next(iter(first.values()))
    everything = dataclasses.replace(run, tasks=tuple(collections), target_cases=None)
    learned, scored = splits.run_rows(everything, collections, split)
    target = split.target
    # The target first, as in every run.
    learned = {target: learned[target]} | {t: rows for t, rows in learned.items() if t != target}
    rois = collections[target]
    tested = [table for run in runs for table in [tables[run.id]] if target in table.task]
    pictured = np.isin(rois.index["roi_id"].astype(str), np.concatenate([t.roi_id for t in tested]))
    write_results.delete_stale(folder / "analysis", digest([made_from, settings.to_dict(), seed]))
    analyse(
        folder / "analysis",
        {a: _loader(folder / "runs" / run.id, build) for a, run in first.items()},
        AnalysisInputs(
            collections,
            learned,
            target,
            scored[target],
            {a: _scores_of(tables[run.id], rois, scored[target]) for a, run in first.items()},
            np.flatnonzero(pictured),
        ),
        settings,
        seed,
    )


def _loader(place: Path, build: Callable[..., Network]) -> Callable[[], TrainedNetwork]:
    def load() -> TrainedNetwork:
        params = checkpoint.read_params(place / "checkpoint")
        return TrainedNetwork(build(outputs=params["F5"]["bias"].shape[0]), params, 0)

    return load


def _scores_of(table: Scores, rois: RoiSet, rows: np.ndarray) -> np.ndarray:
    """Return the scores of these rows of a collection, in their order."""
    own = table.of(table.task == rois.name)
    score = dict(zip(own.roi_id.tolist(), own.score.tolist(), strict=True))
    return np.array([score[str(roi_id)] for roi_id in rois.index["roi_id"][rows]], np.float32)
