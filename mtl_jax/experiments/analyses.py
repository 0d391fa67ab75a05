"""Select the trained networks and the ROIs of a study that are analysed."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mtl_jax.analysis import write_results
from mtl_jax.analysis.analyse import AnalysisInputs, TrainedNetwork, analyse
from mtl_jax.experiments import splits
from mtl_jax.experiments.inner_set import draw_inner
from mtl_jax.experiments.provenance import digest
from mtl_jax.experiments.scores import Scores
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.models import registry
from mtl_jax.training import checkpoint
from mtl_jax.types import RoiSet, Run


def run_analyses(
    folder: Path,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    inputs: StudyInputs,
    c: ConfigDict,
    provenance: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write `folder`/analysis/ for the first run of each approach that is tested on the target.

    All networks are analysed on the same ROIs. Existing results are kept unless `provenance`, that
    of each run, has changed.
    """
    collections, split, weights = inputs.run_inputs
    settings, seed, target = c.analysis, c.seed, split.target
    first_runs: dict[str, Run] = {}
    for run in runs:
        if run.tasks[0] == target:
            first_runs.setdefault(run.approach, run)
    if not first_runs:
        return
    run = next(iter(first_runs.values()))
    tasks = (target, *(name for name in collections if name != target))
    all_tasks = dataclasses.replace(run, tasks=tasks, target_cases=None)
    train, evaluation = splits.run_rows(all_tasks, collections, split)
    inner_fraction = c.train.early_stopping.fraction
    train, _ = draw_inner(all_tasks, train, collections, inner_fraction, split.seed)
    rois = collections[target]
    scored = [t.roi_id for run in runs for t in [tables[run.id]] if target in t.task]
    is_shown = np.isin(rois.index["roi_id"].astype(str), np.concatenate(scored))
    write_results.delete_stale(folder / "analysis", digest([provenance, settings.to_dict(), seed]))
    analyse(
        folder / "analysis",
        {
            approach: functools.partial(
                _load_network, folder / "runs" / run.id, weights[approach].metadata
            )
            for approach, run in first_runs.items()
        },
        AnalysisInputs(
            collections,
            train,
            target,
            evaluation[target],
            {
                approach: _scores_of_rows(tables[run.id], rois, evaluation[target])
                for approach, run in first_runs.items()
            },
            np.flatnonzero(is_shown),
        ),
        settings,
        seed,
    )


def _load_network(run_folder: Path, pretrained: Mapping[str, Any]) -> TrainedNetwork:
    """Return the network of a run; `pretrained` is the metadata of its weights."""
    params = checkpoint.read_params(run_folder / "checkpoint")
    outputs = params["F5"]["bias"].shape[0]
    network = registry.build(pretrained["backbone"], outputs, lrn=pretrained["lrn"])
    return TrainedNetwork(network, params, 0)


def _scores_of_rows(table: Scores, rois: RoiSet, rows: np.ndarray) -> np.ndarray:
    """Return the scores of these rows of a collection, in their order."""
    table = table.select_rows(table.task == rois.name)
    score = dict(zip(table.roi_id.tolist(), table.score.tolist(), strict=True))
    return np.array([score[str(roi_id)] for roi_id in rois.index["roi_id"][rows]], np.float32)
