"""Train one run, or several replicas, from the start or the latest checkpoint to the last epoch."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np

from mtl_jax.io import atomic
from mtl_jax.training import devices, multihost, software
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.dataset import BatchSource, Dataset, steps_per_epoch
from mtl_jax.training.epoch import is_stepwise
from mtl_jax.training.epoch_of_runs import EpochOfRuns
from mtl_jax.training.feature_cache import cached_source
from mtl_jax.training.loop import Loop, LoopRun, resume, run_epochs
from mtl_jax.training.prefetch import is_on_host
from mtl_jax.training.replicas import stack_replicas, take_replica
from mtl_jax.training.setup import Training, TrainingRun
from mtl_jax.types import Params, TrainState


def fit(
    runs: Sequence[TrainingRun],
    dataset: Dataset,
    training: Training,
    on_steps: Callable[[int], object] = lambda completed: None,
) -> list[Params]:
    """Train each of `runs` and return its parameters.

    Each run writes history.jsonl, one record per epoch, and checkpoint/ into its folder. A later
    call with the same arguments resumes from the checkpoint. On the same device its result is
    bit-identical, for GPUs if their operations are deterministic (config.deterministic) and the
    programs are the same, and otherwise equal within rounding. On a signal to stop, the state is
    saved after the current epoch.

    Several runs train together as `training.replicas`, and have the same frozen layers;
    ragged replicas may differ in the number of ROIs and so of steps. `on_steps` is called with the
    number of completed steps, as in `Loop`.

    Raises InputError if the loss or the update is not finite, a checkpoint is of another training
    run, or the disk cannot be written.
    """
    source, first = _open_source(runs, dataset, training)
    rois = [range(dataset.count) if run.rois is None else run.rois for run in runs]
    steps = [steps_per_epoch(len(run_rois), training.train.batch_size) for run_rois in rois]
    if len(set(steps)) > 1 and not (training.replicas and training.replicas.ragged):
        raise ValueError(f"{steps} steps per epoch need ragged replicas")
    loop_runs = [_loop_run(*pair, training) for pair in zip(runs, rois, strict=True)]
    start = partial(TrainState, np.int32(0))
    optimizer = training.optimizer()
    states = [start(run.params, jax.device_get(optimizer.init(run.params))) for run in runs]
    begin, states = resume(loop_runs, states)
    # A copy: the step donates the memory of the state, and the caller keeps the parameters.
    state = (
        stack_replicas(states, training.replicas)
        if training.replicas
        else devices.replicate(states[0], training.sharding())
    )
    del states
    on_host = is_on_host(source)
    epoch = training.epoch(first, on_host)
    run_epoch = EpochOfRuns(runs, rois, steps, source, epoch, training)
    t = training.train
    loop = Loop(
        loop_runs,
        run_epoch,
        steps=max(steps),
        epochs=t.epochs,
        checkpoint_minutes=t.checkpoint_minutes,
        writers=t.writers,
        keep=training.keep,
        replicas=training.replicas,
        epochs_ahead=0 if is_stepwise(on_host) else 1,
        on_steps=on_steps,
    )
    state = run_epochs(loop, state, begin)
    latest = [take_replica(state.params, training.replicas, n) for n in range(len(runs))]
    return [
        run.result(devices.local_arrays(params))
        for run, params in zip(loop_runs, latest, strict=True)
    ]


def _open_source(
    runs: Sequence[TrainingRun], dataset: Dataset, training: Training
) -> tuple[BatchSource, str]:
    """Return the source that batches are made from, and the first layer that they go through."""
    source, first = dataset, "C1"
    if training.cache:
        frozen_params = runs[0].params  # equal in all runs
        source, first = cached_source(
            training.network, frozen_params, dataset, training.frozen, training.cache
        )
    location = "host" if is_on_host(source) else "device"
    multihost.assert_same(f"{dataset.count} ROIs for layer {first} on the {location}")
    versions = software.versions().items()
    multihost.assert_same(", ".join(f"{name} {number}" for name, number in versions))
    return training.place(source), first


def _loop_run(run: TrainingRun, rois: range, training: Training) -> LoopRun:
    if multihost.is_primary():
        atomic.make_folder(run.folder)
    key = jax.random.key_data(run.key).tolist()
    metadata = {**run.provenance, **training.record(), "rois": len(rois), "key": key}
    checkpoints = Checkpoints(run.folder / "checkpoint", metadata, run.accept_versions)
    return LoopRun(run.folder, checkpoints, run.on_epoch, run.monitor)
