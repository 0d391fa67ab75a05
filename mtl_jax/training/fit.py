"""Train one run, or several replicas, from the start or the latest checkpoint to the last epoch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mtl_jax.io import atomic, signals
from mtl_jax.models.base import Network
from mtl_jax.models.initialization import INITIALIZATIONS
from mtl_jax.training import devices, multihost, optimizer, orientations, software
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.dataset import Dataset, epoch_order, steps_per_epoch
from mtl_jax.training.epoch import EpochOrder, make_epoch
from mtl_jax.training.feature_cache import cached_source
from mtl_jax.training.history import EpochCallback, EpochRecord, History, progress_bar, summarize
from mtl_jax.training.prefetch import is_on_host
from mtl_jax.training.replicas import Replicas, stack_replicas, take_replica
from mtl_jax.training.steps import Metrics
from mtl_jax.types import InputError, Params, TrainState

# Fields of config.train that do not change the trained weights.
FIELDS_WITHOUT_EFFECT = ("checkpoint_epochs", "tensorboard", "validation_epochs")
HIGH_LOSS = 2.0  # a mean loss far above ln 2, the loss of a constant prediction


class TrainingRun(NamedTuple):
    """What belongs to one training run alone."""

    folder: Path  # of its history and its checkpoints
    params: Params  # initial
    key: jax.Array  # of its order of ROIs and its dropout
    on_epoch: EpochCallback
    rois: range | None = None  # its training set in the dataset; None: all
    validate: Callable[[Params], EpochRecord] | None = None  # adds values every validation_epochs
    provenance: Mapping[str, Any] = MappingProxyType({})  # recorded in its checkpoints
    accept_versions: bool = False  # resume checkpoints of other versions


def fit(
    runs: Sequence[TrainingRun],
    dataset: Dataset,
    network: Network,
    frozen: tuple[str, ...],
    tasks: Sequence[str],
    task_weights: tuple[float, ...],
    train_config: ConfigDict,
    device_count: int,
    cache: Path | None = None,
    keep: bool = True,
    replicas: Replicas | None = None,
    initialization: str = "he",
) -> list[Params]:
    """Train each of `runs` and return its parameters.

    Each run writes history.jsonl, one record per epoch, and checkpoint/ into its folder. A later
    call with the same arguments resumes from the checkpoint, and its result is bit-identical on the
    same device. On a signal to stop, the state is saved after the current epoch.

    Several runs train together, vmapped in `replicas`, and have the same frozen layers; ragged
    replicas may differ in the number of ROIs and so of steps. `task_weights` are those in the loss,
    `train_config` is config.train, `initialization` determines how biases are trained, and `cache`
    is the folder of the frozen-feature cache (None: no cache). `keep` saves the state after the
    last epoch.

    Raises InputError if the loss or the update is not finite, a checkpoint is of another training
    run, or the disk cannot be written.
    """
    sharding = devices.batch_sharding(1 if replicas else device_count)
    biases = INITIALIZATIONS[initialization]
    sgd = optimizer.SGD(
        train_config.momentum, train_config.weight_decay, biases.bias_rate, biases.decay_biases
    )
    tx = optimizer.make_optimizer(frozen, sgd)
    source, first = dataset, "C1"
    if cache:
        source, first = cached_source(network, runs[0].params, dataset, frozen, cache)
    on_host = is_on_host(source)
    if sharding and not on_host:
        source = devices.replicate(source, sharding)
    all_rois = range(len(dataset.label))
    location = "host" if on_host else "device"
    multihost.assert_same(f"{len(all_rois)} ROIs for layer {first} on the {location}")
    versions = software.versions().items()
    multihost.assert_same(", ".join(f"{name} {number}" for name, number in versions))
    rois = [all_rois if run.rois is None else run.rois for run in runs]
    steps = [steps_per_epoch(len(run_rois), train_config.batch_size) for run_rois in rois]
    if len(set(steps)) > 1 and not (replicas and replicas.ragged):
        raise ValueError(f"{steps} steps per epoch need ragged replicas")

    made_by = {
        "network": network.fields(),
        "initialization": initialization,
        "frozen": frozen,
        "tasks": dict(zip(tasks, task_weights, strict=True)),
        "train": {k: v for k, v in train_config.items() if k not in FIELDS_WITHOUT_EFFECT},
    }
    checkpoints, states = [], []
    for run, run_rois in zip(runs, rois, strict=True):
        if multihost.is_primary():
            with atomic.report_write_errors(run.folder):
                run.folder.mkdir(parents=True, exist_ok=True)
        key = jax.random.key_data(run.key).tolist()
        metadata = {**run.provenance, **made_by, "rois": len(run_rois), "key": key}
        checkpoints.append(Checkpoints(run.folder / "checkpoint", metadata, run.accept_versions))
        states.append(TrainState(jnp.int32(0), run.params, tx.init(run.params)))
    begin, states = _resume(checkpoints, states)

    stack = partial(stack_replicas, replicas=replicas)
    take = partial(take_replica, replicas=replicas)
    # A copy: the step donates the state's memory, and the caller keeps the parameters.
    state = stack(states) if replicas else devices.replicate(states[0], sharding)
    del states
    order_keys, dropout_keys = zip(*(jax.random.split(run.key) for run in runs), strict=True)
    dropout_key = stack(dropout_keys)
    precision = train_config.precision
    epoch = make_epoch(
        network, frozen, sgd, task_weights, sharding, first, on_host, precision, replicas
    )

    noted_high_loss = False
    name = runs[0].folder.name
    name += f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    progress = progress_bar(name, begin * max(steps), train_config.epochs * max(steps))
    histories = []
    for run in runs:
        path = run.folder / "history.jsonl" if multihost.is_primary() else None
        histories.append(History(path, begin, run.on_epoch))
    with progress, signals.defer(multihost.agreed_signal) as stopping:
        for done in range(begin, train_config.epochs):
            keys = (jax.random.fold_in(key, done) for key in order_keys)
            orders = [
                _epoch_order(key, run_rois, done, train_config, max(steps))
                for key, run_rois in zip(keys, rois, strict=True)
            ]
            state, metrics = epoch(state, source, stack(orders), dropout_key, progress.update)
            for number, run in enumerate(runs):
                count, run_name = steps[number], run.folder.name
                run_metrics = Metrics(*(m[:count] for m in take(metrics, number=number)))
                rate = train_config.learning_rate
                _reject_not_finite(run_metrics, run_name, done * count, done + 1, rate)
                record = summarize(done + 1, run_metrics, orders[number].rate[:count], tasks)
                if run.validate and _validation_due(done + 1, train_config):
                    record |= run.validate(devices.local_arrays(take(state.params, number=number)))
                if record["loss"] > HIGH_LOSS and not noted_high_loss:
                    noted_high_loss = True
                    progress.write(
                        f"mtl_jax: note: run {run_name}: the loss has risen to {record['loss']:.3g}"
                        f" in epoch {done + 1}, worse than chance: config.train.learning_rate"
                        f" ({rate}) is too high",
                        file=sys.stderr,
                    )
                histories[number].write(record)
            progress.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
            is_last = done + 1 == train_config.epochs
            due = keep if is_last else (done + 1) % train_config.checkpoint_epochs == 0
            stop = stopping()
            if due or stop:
                for number, run_checkpoints in enumerate(checkpoints):
                    run_checkpoints.save(done + 1, take(state, number=number))
            if stop:
                break
    if keep:
        for run_checkpoints in checkpoints:
            run_checkpoints.close(keep=train_config.epochs)
    return [devices.local_arrays(take(state.params, number=n)) for n in range(len(runs))]


def _epoch_order(
    key: jax.Array, rois: range, done: int, train_config: ConfigDict, total_steps: int
) -> EpochOrder:
    """Return the order of the epoch after `done` epochs, with empty batches up to `total_steps`."""
    indices, weight = epoch_order(key, len(rois), train_config.batch_size)
    indices += orientations.COUNT * rois.start
    steps = len(indices)
    rates = optimizer.learning_rate(
        done * steps + jnp.arange(steps, dtype=jnp.float32),
        train_config.epochs * steps,
        train_config.learning_rate,
        train_config.final_learning_rate,
    )
    order, padding = EpochOrder(indices, weight, np.asarray(rates)), (0, total_steps - steps)
    if steps == total_steps:
        return order
    return EpochOrder(*(np.pad(c, (padding, *[(0, 0)] * (c.ndim - 1))) for c in order))


def _validation_due(epoch: int, train_config: ConfigDict) -> bool:
    interval = train_config.validation_epochs
    return interval > 0 and (epoch % interval == 0 or epoch == train_config.epochs)


def _resume(
    checkpoints: Sequence[Checkpoints], states: Sequence[TrainState]
) -> tuple[int, list[TrainState]]:
    """Return the newest epoch that all runs have a checkpoint of (0 for none), and their states.

    A kill between two saves leaves the runs one epoch apart; two checkpoints of each are kept.
    """
    max_epoch = None
    while True:
        resumed = [c.resume(state, max_epoch) for c, state in zip(checkpoints, states, strict=True)]
        epochs = [epoch for epoch, _ in resumed]
        if len(set(epochs)) == 1:
            return epochs[0], [state for _, state in resumed]
        max_epoch = min(epochs)


def _reject_not_finite(metrics: Metrics, run: str, before: int, epoch: int, rate: float) -> None:
    """Raise InputError if the loss or the update of a step is not finite."""
    finite = np.isfinite(metrics.loss) & np.isfinite(metrics.update_norm)
    if not finite.all():
        step = before + int(np.argmin(finite)) + 1
        raise InputError(
            f"run {run}: the loss is NaN or infinite at step {step} (epoch {epoch}); lower "
            f"config.train.learning_rate ({rate})"
        )
