"""One epoch of all runs of a training: order of the ROIs, compiled epoch, validation, records."""

import functools
import sys
from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from mtl_jax.io.progress import write_line
from mtl_jax.training import devices, objective, orientations
from mtl_jax.training.dataset import BatchSource, epoch_order
from mtl_jax.training.epoch import Epoch, EpochOrder
from mtl_jax.training.loop import ProgressCallback, ReadRecords
from mtl_jax.training.replicas import stack_on_host, stack_replicas, take_replica
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
        order_keys, dropout_keys = zip(*(jax.random.split(run.key) for run in runs), strict=True)
        self._order_seeds = [jax.random.key_data(key).tolist() for key in order_keys]
        key, sharding = self._stack(dropout_keys), training.sharding()
        self._dropout_key = devices.replicate(key, sharding) if sharding else key
        self._noted_high_loss = False

    def __call__(
        self, state: TrainState, done: int, progress: ProgressCallback
    ) -> tuple[TrainState, ReadRecords]:
        orders = [
            _epoch_order([*seed, done], rois, done, self._training.train, max(self._steps))
            for seed, rois in zip(self._order_seeds, self._rois, strict=True)
        ]
        order = stack_on_host(orders, self._training.replicas)
        active = [run.monitor is None or not run.monitor.stopped for run in self._runs]
        state, read_metrics = self._epoch(state, self._source, order, self._dropout_key, progress)

        @functools.cache
        def read_losses() -> list[EpochRecord | None]:
            metrics = read_metrics()
            return [
                self._record(number, done + 1, metrics, orders[number].rate) if is_active else None
                for number, is_active in enumerate(active)
            ]

        if any(run.monitor and run.monitor.is_due(done + 1) for run in self._runs):
            read_losses()  # before weights that are not finite are evaluated
        # Now, because the next epoch takes the memory of the parameters.
        evaluations = [
            self._evaluate(number, done + 1, state) if is_active else []
            for number, is_active in enumerate(active)
        ]

        def read() -> list[EpochRecord | None]:
            records = read_losses()
            for record, read_values in zip(records, evaluations, strict=True):
                for values in read_values:
                    record.update(values())
            return records

        return state, read

    def _evaluate(
        self, number: int, epoch: int, state: TrainState
    ) -> list[Callable[[], EpochRecord]]:
        """Return functions that wait for what is evaluated with the weights after an epoch.

        A monitor evaluates at once: it decides whether the run goes on.
        """
        run = self._runs[number]

        def params() -> Params:
            return devices.local_arrays(self._take(state.params, number=number))

        evaluations = []
        if run.validate and _validation_due(epoch, self._training.train):
            evaluations.append(run.validate(params()))
        if run.monitor:
            values = run.monitor.observe(epoch, params)
            evaluations.append(lambda: values)
        return evaluations

    def _record(self, number: int, epoch: int, metrics: Metrics, rates: np.ndarray) -> EpochRecord:
        """Return the record of a run after an epoch; InputError if its loss is not finite."""
        run, steps, train = self._runs[number], self._steps[number], self._training.train
        values = {name: m[:steps] for name, m in self._take(metrics, number=number).items()}
        _reject_not_finite(values, run.folder.name, epoch, train.learning_rate)
        record = objective.summarize(
            epoch, values, rates[:steps], list(self._training.task_weights)
        )
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
    seed: Sequence[int], rois: range, done: int, train: ConfigDict, total_steps: int
) -> EpochOrder:
    """Return the order of the epoch after `done` epochs, with empty batches up to `total_steps`."""
    indices, weight = epoch_order(seed, len(rois), train.batch_size)
    indices += orientations.COUNT * rois.start
    steps = len(indices)
    rates = learning_rates(train, done * steps + np.arange(steps), train.epochs * steps)
    order, padding = EpochOrder(indices, weight, rates), (0, total_steps - steps)
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
