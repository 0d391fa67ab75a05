"""Train one run, or several replicas, from the start or the latest checkpoint to the last epoch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from ml_collections import ConfigDict
from tqdm import tqdm

from mtl_jax.io import atomic
from mtl_jax.models.base import Network
from mtl_jax.training import devices, multihost, objective, optimizer, orientations, software
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.dataset import BatchSource, Dataset, epoch_order, steps_per_epoch
from mtl_jax.training.epoch import Epoch, EpochOrder, make_epoch
from mtl_jax.training.feature_cache import cached_source
from mtl_jax.training.loop import (
    Loop,
    LoopRun,
    Monitor,
    ProgressCallback,
    resume,
    run_epochs,
)
from mtl_jax.training.losses import LOSSES
from mtl_jax.training.prefetch import is_on_host
from mtl_jax.training.replicas import Replicas, stack_replicas, take_replica
from mtl_jax.training.schedules import learning_rates
from mtl_jax.training.step import Metrics, make_step
from mtl_jax.training.writers import EpochRecord
from mtl_jax.types import InputError, Params, TrainState

# Fields of config.train that do not change the trained weights.
FIELDS_WITHOUT_EFFECT = ("checkpoint_epochs", "writers", "validation_epochs")
HIGH_LOSS = 2.0  # a mean loss far above ln 2, the loss of a constant prediction


class TrainingRun(NamedTuple):
    """What belongs to one training run alone."""

    folder: Path  # of its history and its checkpoints
    params: Params  # initial
    key: jax.Array  # of its order of ROIs and its dropout
    on_epoch: Callable[[EpochRecord], None] = lambda record: None
    rois: range | None = None  # its training set in the dataset; None: all
    validate: Callable[[Params], EpochRecord] | None = None  # adds values every validation_epochs
    provenance: Mapping[str, Any] = MappingProxyType({})  # recorded in its checkpoints
    accept_versions: bool = False  # resume checkpoints of other versions
    monitor: Monitor | None = None  # may end the run early


@dataclass(frozen=True)
class Training:
    """What the runs of one call of `fit` have in common."""

    network: Network
    frozen: tuple[str, ...]
    task_weights: Mapping[str, float]  # in the loss, by task
    train: ConfigDict  # config.train
    initialization: str = "he"  # determines how biases are trained
    device_count: int = 1
    cache: Path | None = None  # folder of the frozen-feature cache; None: no cache
    keep: bool = True  # save the state after the last epoch
    replicas: Replicas | None = None

    def sharding(self) -> NamedSharding | None:
        """Return the sharding of a batch; replicas are not sharded."""
        return devices.batch_sharding(1 if self.replicas else self.device_count)

    def optimizer(self) -> Any:
        return optimizer.make_optimizer(self.train, self.frozen, self.initialization)

    def epoch(self, first: str, on_host: bool) -> Epoch:
        """Return the compiled epoch for a source whose images layer `first` receives."""
        loss = LOSSES[self.train.loss](self.train)
        weights, precision = tuple(self.task_weights.values()), self.train.precision
        minimized = objective.multi_task_objective(self.network, weights, first, loss, precision)
        step = make_step(minimized, self.optimizer())
        return make_epoch(step, self.sharding(), on_host, self.replicas)

    def record(self) -> dict[str, Any]:
        """Return what determines the trained weights, for the metadata of checkpoints."""
        train = {k: v for k, v in self.train.to_dict().items() if k not in FIELDS_WITHOUT_EFFECT}
        return {
            "network": self.network.fields(),
            "initialization": self.initialization,
            "frozen": self.frozen,
            "tasks": dict(self.task_weights),
            "train": train,
        }


def fit(runs: Sequence[TrainingRun], dataset: Dataset, training: Training) -> list[Params]:
    """Train each of `runs` and return its parameters.

    Each run writes history.jsonl, one record per epoch, and checkpoint/ into its folder. A later
    call with the same arguments resumes from the checkpoint, and its result is bit-identical on the
    same device. On a signal to stop, the state is saved after the current epoch.

    Several runs train together, vmapped in `training.replicas`, and have the same frozen layers;
    ragged replicas may differ in the number of ROIs and so of steps.

    Raises InputError if the loss or the update is not finite, a checkpoint is of another training
    run, or the disk cannot be written.
    """
    source, first = _open_source(runs, dataset, training)
    rois = [range(len(dataset.label)) if run.rois is None else run.rois for run in runs]
    steps = [steps_per_epoch(len(run_rois), training.train.batch_size) for run_rois in rois]
    if len(set(steps)) > 1 and not (training.replicas and training.replicas.ragged):
        raise ValueError(f"{steps} steps per epoch need ragged replicas")
    loop_runs = [_loop_run(*pair, training) for pair in zip(runs, rois, strict=True)]
    start = partial(TrainState, jnp.int32(0))
    optimizer = training.optimizer()
    states = [start(run.params, optimizer.init(run.params)) for run in runs]
    begin, states = resume(loop_runs, states)
    # A copy: the step donates the memory of the state, and the caller keeps the parameters.
    state = (
        stack_replicas(states, training.replicas)
        if training.replicas
        else devices.replicate(states[0], training.sharding())
    )
    del states
    epoch = training.epoch(first, is_on_host(source))
    run_epoch = _EpochOfRuns(runs, rois, steps, source, epoch, training)
    t = training.train
    loop = Loop(
        loop_runs,
        run_epoch,
        max(steps),
        t.epochs,
        t.checkpoint_epochs,
        t.writers,
        training.keep,
        training.replicas,
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
    multihost.assert_same(f"{len(dataset.label)} ROIs for layer {first} on the {location}")
    versions = software.versions().items()
    multihost.assert_same(", ".join(f"{name} {number}" for name, number in versions))
    sharding = training.sharding()
    if sharding and not is_on_host(source):
        source = devices.replicate(source, sharding)
    return source, first


def _loop_run(run: TrainingRun, rois: range, training: Training) -> LoopRun:
    if multihost.is_primary():
        with atomic.report_write_errors(run.folder):
            run.folder.mkdir(parents=True, exist_ok=True)
    key = jax.random.key_data(run.key).tolist()
    metadata = {**run.provenance, **training.record(), "rois": len(rois), "key": key}
    checkpoints = Checkpoints(run.folder / "checkpoint", metadata, run.accept_versions)
    return LoopRun(run.folder, checkpoints, run.on_epoch, run.monitor)


class _EpochOfRuns:
    """One epoch of all runs, as the loop calls it."""

    def __init__(
        self,
        runs: Sequence[TrainingRun],
        rois: Sequence[range],
        steps: Sequence[int],
        source: BatchSource,
        epoch: Epoch,
        training: Training,
    ) -> None:
        self._runs, self._rois, self._steps = runs, rois, steps
        self._source, self._epoch, self._training = source, epoch, training
        self._stack = partial(stack_replicas, replicas=training.replicas)
        self._take = partial(take_replica, replicas=training.replicas)
        self._order_keys, dropout_keys = zip(
            *(jax.random.split(run.key) for run in runs), strict=True
        )
        self._dropout_key = self._stack(dropout_keys)
        self._noted_high_loss = False

    def __call__(
        self, state: TrainState, done: int, progress: ProgressCallback
    ) -> tuple[TrainState, list[EpochRecord | None]]:
        orders = [
            _epoch_order(
                jax.random.fold_in(key, done), rois, done, self._training.train, max(self._steps)
            )
            for key, rois in zip(self._order_keys, self._rois, strict=True)
        ]
        order = self._stack(orders)
        state, metrics = self._epoch(state, self._source, order, self._dropout_key, progress)
        return state, [
            None
            if run.monitor and run.monitor.stopped
            else self._record(number, done + 1, state, metrics, orders[number].rate)
            for number, run in enumerate(self._runs)
        ]

    def _record(
        self, number: int, epoch: int, state: TrainState, metrics: Metrics, rates: np.ndarray
    ) -> EpochRecord:
        """Return the record of a run after an epoch; InputError if its loss is not finite."""
        run, steps, train = self._runs[number], self._steps[number], self._training.train
        values = {name: m[:steps] for name, m in self._take(metrics, number=number).items()}
        _reject_not_finite(values, run.folder.name, epoch, train.learning_rate)
        record = objective.summarize(
            epoch, values, rates[:steps], list(self._training.task_weights)
        )

        def params() -> Params:
            return devices.local_arrays(self._take(state.params, number=number))

        if run.validate and _validation_due(epoch, train):
            record |= run.validate(params())
        if run.monitor:
            run.monitor.observe(epoch, record, params)
        if record["loss"] > HIGH_LOSS and not self._noted_high_loss:
            self._noted_high_loss = True
            tqdm.write(
                f"mtl_jax: note: run {run.folder.name}: the loss has risen to {record['loss']:.3g}"
                f" in epoch {epoch}, worse than chance: config.train.learning_rate"
                f" ({train.learning_rate}) is too high",
                file=sys.stderr,
            )
        return record


def _epoch_order(
    key: jax.Array, rois: range, done: int, train: ConfigDict, total_steps: int
) -> EpochOrder:
    """Return the order of the epoch after `done` epochs, with empty batches up to `total_steps`."""
    indices, weight = epoch_order(key, len(rois), train.batch_size)
    indices += orientations.COUNT * rois.start
    steps = len(indices)
    step = done * steps + jnp.arange(steps, dtype=jnp.float32)
    rates = learning_rates(train, step, train.epochs * steps)
    order, padding = EpochOrder(indices, weight, np.asarray(rates)), (0, total_steps - steps)
    if steps == total_steps:
        return order
    return EpochOrder(*(np.pad(c, (padding, *[(0, 0)] * (c.ndim - 1))) for c in order))


def _validation_due(epoch: int, train: ConfigDict) -> bool:
    interval = train.validation_epochs
    return interval > 0 and (epoch % interval == 0 or epoch == train.epochs)


def _reject_not_finite(metrics: Metrics, run: str, epoch: int, rate: float) -> None:
    """Raise InputError if the loss or the update of a step is not finite."""
    finite = np.isfinite(metrics["loss"]) & np.isfinite(metrics["update_norm"])
    if not finite.all():
        step = (epoch - 1) * len(finite) + int(np.argmin(finite)) + 1
        raise InputError(
            f"run {run}: the loss is NaN or infinite at step {step} (epoch {epoch}); lower "
            f"config.train.learning_rate ({rate})"
        )
