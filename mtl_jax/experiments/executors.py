"""Train the missing runs of a stage, in this process or on a Ray cluster."""

import sys
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mtl_jax.experiments.compute_cost import n_epochs, n_training_rois
from mtl_jax.experiments.run_data import subset_key
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.experiments.train_runs import cached_layers, train_and_score
from mtl_jax.io.progress import write_line
from mtl_jax.models import registry
from mtl_jax.training import feature_cache, memory, multihost
from mtl_jax.training.checkpoint import saved_epochs
from mtl_jax.training.dataset import padded_count
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.training.replicas import MAX_WIDTH, Replicas, make_replicas
from mtl_jax.types import InputError, Run


class Callbacks(NamedTuple):
    """What an executor calls while it trains; on a Ray cluster the last two alone."""

    on_start: Callable[[], object] = lambda: None  # the next of `plan_groups` begins
    on_phase: Callable[[str], object] = lambda phase: None
    on_steps: Callable[[int], object] = lambda completed: None  # steps of the group
    on_finished: Callable[[Run], object] = lambda run: None
    on_message: Callable[[str], object] = print


Group = tuple[list[Run], Replicas | None]
Train = Callable[[Sequence[Run], Replicas | None], None]  # trains and scores a group
Executor = Callable[[Sequence[Run], Path, StudyInputs, ConfigDict, Callbacks], None]


def is_finished(run: Run, folder: Path) -> bool:
    return (folder / "runs" / run.id / "scores.csv").exists()


def missing_runs(runs: Sequence[Run], folder: Path) -> list[Run]:
    """Return the runs that are not finished, without repetitions."""
    return [run for run in dict.fromkeys(runs) if not is_finished(run, folder)]


def run_locally(
    runs: Sequence[Run], folder: Path, inputs: StudyInputs, c: ConfigDict, callbacks: Callbacks
) -> None:
    """Train the missing runs in this process, one after another or together as replicas.

    Several processes train each run together; process 0 decides which runs are missing.
    """
    missing_ids = set(multihost.from_primary(lambda: [r.id for r in missing_runs(runs, folder)]))
    fitting: dict[Run, int] = {}  # replicas of a device, where a group did not fit

    def train(group: Sequence[Run], replicas: Replicas | None) -> None:
        train_and_score(
            group,
            [folder / "runs" / run.id for run in group],
            *inputs.run_inputs,
            c,
            replicas,
            on_phase=callbacks.on_phase,
            on_steps=callbacks.on_steps,
        )

    for trained, replicas in plan_groups(runs, missing_ids, inputs, c, folder):
        callbacks.on_start()
        kind = replace(trained[0], initialization=0, split=1, fold=None)
        if replicas and kind in fitting:
            replicas = replicas._replace(width=min(replicas.width, fitting[kind]))
        if not _train_in_parts(train, trained, replicas, folder):
            fitting[kind] = -(-replicas.width // 2)
            half = replicas._replace(width=fitting[kind])
            write_line(
                f"mtl_jax: note: {replicas.width} runs on a device need more memory than it has:"
                f" training {half.width} at a time; to begin so, set config.replicas={half.count}",
                sys.stderr,
            )
            feature_cache.clear_cache()
            if not _train_in_parts(train, trained, half, folder):
                raise InputError(
                    f"run {trained[0].id}: {half.width} runs on a device need more memory than it"
                    f" has; set config.replicas={max(1, half.count // 2)}"
                )
        for run in trained:
            callbacks.on_finished(run)


def _train_in_parts(
    train: Train, runs: Sequence[Run], replicas: Replicas | None, folder: Path
) -> bool:
    """Train the runs that are not finished, as many at a time as there are replicas; return False
    if a device has too little memory for them."""
    left = list(runs) if replicas is None else missing_runs(runs, folder)
    size = replicas.count if replicas else len(left)
    parts = (left[begin : begin + size] for begin in range(0, len(left), size))
    return all(_fits(train, part, replicas) for part in parts)


def _fits(train: Train, runs: Sequence[Run], replicas: Replicas | None) -> bool:
    """Train and score a group; return False if a device has too little memory for its replicas."""
    try:
        train(runs, replicas)
    except jax.errors.JaxRuntimeError as error:
        if not memory.is_exhausted(error):
            raise
        if replicas is None or replicas.width == 1:
            raise InputError(
                f"run {runs[0].id}: the device has too little memory"
                f" ({memory.device_bytes() / 1e9:.3g} GB for JAX); lower config.train.batch_size,"
                " or free memory that other programs use there"
            ) from error
        return False
    return True


def plan_groups(
    runs: Sequence[Run], missing_ids: Set[str], inputs: StudyInputs, c: ConfigDict, folder: Path
) -> list[Group]:
    """Return the missing runs in the groups in which `run_locally` trains them, in order.

    Groups are formed from all `runs`, finished or not. Where a resumed study has the same bits, its
    groups keep their number of replicas, and so their program; elsewhere as many train as are
    missing. Missing runs that have checkpoints of no common epoch train one after another.
    """
    keeps_bits = jax.default_backend() == "cpu" or c.deterministic
    groups: list[Group] = []
    for group in group_runs(runs, inputs, c):
        ragged = len(set(map(subset_key, group))) > 1
        replicas = (
            make_replicas(len(group), c.devices, ragged) if jax.process_count() == 1 else None
        )
        missing = [run for run in group if run.id in missing_ids]
        together = _common_epochs(missing, folder) if replicas else [[run] for run in missing]
        for trained in together:
            if replicas and not keeps_bits:
                width = -(-len(trained) // c.devices)
                groups.append((trained, replicas._replace(width=width)))
            else:
                groups.append((trained, replicas))
    return groups


def _common_epochs(runs: Sequence[Run], folder: Path) -> list[list[Run]]:
    """Return the runs of a group in parts that can resume together, without losing an epoch."""
    parts: list[tuple[set[int], list[Run]]] = []
    for run in runs:
        saved = set(saved_epochs(folder / "runs" / run.id / "checkpoint"))
        for common, part in parts:
            if common & saved or not (common or saved):
                common &= saved
                part.append(run)
                break
        else:
            parts.append((saved, [run]))
    return [part for _, part in parts]


def group_runs(runs: Sequence[Run], inputs: StudyInputs, c: ConfigDict) -> list[list[Run]]:
    """Return `runs` in groups that can train together as replicas.

    The runs of a group differ only in initialization, partition and fold, and have the same frozen
    layers and number of epochs. A group has at most config.replicas runs, or as many as fit on the
    devices. Runs on the same fold are adjacent, because they share one training set in memory.
    """
    runs_by_subset: dict[Run, list[Run]] = {}
    for run in dict.fromkeys(runs):
        runs_by_subset.setdefault(subset_key(run), []).append(run)
    compatible: dict[Any, list[list[Run]]] = {}
    for key, subset_runs in runs_by_subset.items():
        if set(frozen_layers(key.network)) <= set(inputs.weights[key.approach].params):
            epochs = n_epochs(key, inputs.collections, inputs.split, c.train)
            fold = None if key.fold is None else 0
            settings = replace(key, initialization=0, split=1, fold=fold)
            compatible.setdefault((epochs, settings), []).append(subset_runs)
        else:  # frozen layers with random values, which differ between initializations
            compatible |= {run: [[run]] for run in subset_runs}
    return [
        group
        for subsets in compatible.values()
        for group in _split_into_groups(subsets, *_max_group_size(subsets[0][0], inputs, c))
    ]


def _split_into_groups(
    subsets: Sequence[Sequence[Run]], max_group_runs: int, max_subsets: int
) -> list[list[Run]]:
    """Return the runs of all `subsets` in groups of limited numbers of runs and of subsets."""
    groups: list[list[Run]] = []
    n_subsets = 0  # in the last group
    for subset_runs in subsets:
        n_subsets += 1
        for run in subset_runs:
            if not groups or len(groups[-1]) == max_group_runs or n_subsets > max_subsets:
                groups.append([])
                n_subsets = 1
            groups[-1].append(run)
    return groups


def _max_group_size(run: Run, inputs: StudyInputs, c: ConfigDict) -> tuple[int, int]:
    """Return how many runs like `run` can train together, and on how many different subsets.

    It is one per device on CPUs, whose cores one run keeps busy.
    """
    if c.replicas:
        return c.replicas, c.replicas
    network, cached = registry.build(inputs.backbone(run)), cached_layers(run, c)
    n_runs = c.devices
    if jax.default_backend() != "cpu":
        bytes_each = memory.run_bytes(network, frozen_layers(run.network), cached, c.train)
        n_runs = min(memory.max_runs(bytes_each, c.devices), MAX_WIDTH * c.devices)
    if n_runs == 1:
        return 1, 1
    n_rois = padded_count(n_training_rois(run, inputs.collections, inputs.split))
    return n_runs, memory.max_datasets(*(n_rois * n for n in memory.roi_bytes(network, cached)))


def run_on_ray(
    runs: Sequence[Run], folder: Path, inputs: StudyInputs, c: ConfigDict, callbacks: Callbacks
) -> None:
    """Train each missing run as a task of a Ray cluster, whose workers prepare their inputs."""
    from mtl_jax.experiments import ray_cluster

    missing = missing_runs(runs, folder)
    ray_cluster.run_all(missing, folder, c, callbacks.on_finished, callbacks.on_message)


EXECUTORS: dict[str, Executor] = {"local": run_locally, "ray": run_on_ray}
