"""One epoch of all runs of a training: order of the ROIs, compiled epoch, records, validation."""

import sys
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mtl_jax.io.progress import write_line
from mtl_jax.training import devices, objective, orientations
from mtl_jax.training.dataset import BatchSource, epoch_order
from mtl_jax.training.epoch import Epoch, EpochOrder
from mtl_jax.training.loop import ProgressCallback
from mtl_jax.training.replicas import stack_replicas, take_replica
from mtl_jax.training.schedules import learning_rates
from mtl_jax.training.setup import Training, TrainingRun
from mtl_jax.training.step import Metrics
from mtl_jax.training.writers import EpochRecord
from mtl_jax.types import InputError, Params, TrainState

HIGH_LOSS = 2.0  # a mean loss far above ln 2, the loss of a constant prediction


class EpochOfRuns:
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
            write_line(
                f"mtl_jax: note: run {run.folder.name}: the loss has risen to {record['loss']:.3g}"
                f" in epoch {epoch}, worse than chance: config.train.learning_rate"
                f" ({train.learning_rate}) is too high",
                sys.stderr,
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
