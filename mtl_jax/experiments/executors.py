"""Does the runs of a stage that are missing, here or on a Ray cluster."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax.experiments.compute_cost import n_epochs, n_training_rois, roi_bytes, training_bytes
from mtl_jax.experiments.run_data import subset_key
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.experiments.train_runs import train_and_score
from mtl_jax.training import multihost
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.training.replicas import make_replicas, max_datasets, max_runs
from mtl_jax.types import Run

OnFinished = Callable[[Run], None]
Executor = Callable[[Sequence[Run], Path, StudyInputs, ConfigDict, OnFinished], None]


def is_done(run: Run, folder: Path) -> bool:
    return (folder / "runs" / run.id / "scores.csv").exists()


def missing_runs(runs: Sequence[Run], folder: Path) -> list[Run]:
    """Return those not done yet, each once."""
    return [run for run in dict.fromkeys(runs) if not is_done(run, folder)]


def run_locally(
    runs: Sequence[Run], folder: Path, inputs: StudyInputs, c: ConfigDict, finished: OnFinished
) -> None:
    """In this process one after another, or in replicas together where they may be; of several
    processes, all train each run together, and process 0 says which are missing.

    Replicas are assigned by all runs of the stage, done or not, so that a study that was stopped
    goes on in the replicas it had.
    """
    todo_ids = set(multihost.from_primary(lambda: [run.id for run in missing_runs(runs, folder)]))
    for group in group_runs(runs, inputs, c):
        ragged = len(set(map(subset_key, group))) > 1
        replicas = (
            make_replicas(len(group), c.devices, ragged) if jax.process_count() == 1 else None
        )
        todo = [run for run in group if run.id in todo_ids]
        for some in [todo] if replicas and todo else [[run] for run in todo]:
            folders = [folder / "runs" / run.id for run in some]
            train_and_score(some, folders, *inputs.of_runs, c, replicas)
            for run in some:
                finished(run)


def group_runs(runs: Sequence[Run], inputs: StudyInputs, c: ConfigDict) -> list[list[Run]]:
    """Return `runs` in groups that may train together as replicas: they differ in seed,
    split, fold or draw of cases alone, have the same frozen layers and take as many epochs. In
    each group are as many at most as config.replicas says or fit on the devices, and those with
    the same fold lie together, since what they learn from is there once."""
    by_subset: dict[Run, list[Run]] = {}
    for run in dict.fromkeys(runs):
        by_subset.setdefault(subset_key(run), []).append(run)
    alike: dict[Any, list[list[Run]]] = {}
    for shared, own in by_subset.items():
        if set(frozen_layers(shared.network)) <= set(inputs.weights.params):
            count = n_epochs(shared, inputs.collections, inputs.split, c.train)
            fold = None if shared.fold is None else 0
            kind = count, replace(shared, initialization=0, split=1, fold=fold)
            alike.setdefault(kind, []).append(own)
        else:  # frozen at random values, which differ between initializations
            alike |= {run: [[run]] for run in own}
    found: list[list[Run]] = []
    for subsets in alike.values():
        trainings, most_subsets = _max_group_size(subsets[0][0], inputs, c)
        group: list[Run] = []
        held = 0
        for own in subsets:
            held += 1
            for run in own:
                if not group or len(group) == trainings or held > most_subsets:
                    group, held = [], 1
                    found.append(group)
                group.append(run)
    return found


def _max_group_size(run: Run, inputs: StudyInputs, c: ConfigDict) -> tuple[int, int]:
    """Return how many trainings like `run` go on together at most, and with how many subsets."""
    if c.replicas:
        return c.replicas, c.replicas
    state, passing = training_bytes(c.model.backbone, run.network)
    trainings = max_runs(state + c.train.batch_size * passing, c.devices)
    if trainings == 1:
        return 1, 1
    source = roi_bytes(c.model.backbone, run.network if c.feature_cache == "auto" else "C0")
    rois = n_training_rois(run, inputs.collections, inputs.split)
    return trainings, max_datasets(rois * source)


def run_on_ray(
    runs: Sequence[Run], folder: Path, inputs: StudyInputs, c: ConfigDict, finished: OnFinished
) -> None:
    """Each a task of a Ray cluster, which prepares the materials itself."""
    from mtl_jax.experiments import ray_cluster

    ray_cluster.run_all(missing_runs(runs, folder), folder, c, finished)


EXECUTORS: dict[str, Executor] = {"local": run_locally, "ray": run_on_ray}
