"""Run one epoch as one compiled loop; on CPUs and for host data, as one compiled call per step."""

import functools
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from mtl_jax.training import dataset
from mtl_jax.training.dataset import BatchSource
from mtl_jax.training.loop import ProgressCallback
from mtl_jax.training.prefetch import is_on_host, prefetch
from mtl_jax.training.replicas import Replicas, jit_replicas, share
from mtl_jax.training.step import Metrics, Step, skip_empty_batches
from mtl_jax.types import Batch, TrainState

SCANNED_STEPS = 16  # in a compiled loop
MAX_STEPS_AHEAD = 2  # of a GPU that reads batches from the host: each holds a batch


class EpochOrder(NamedTuple):
    """`indices` and `weight` (steps, batch) and `rate` (steps,); axes of replicas are in front.

    Arrays on the host.
    """

    indices: np.ndarray
    weight: np.ndarray
    rate: np.ndarray


MakeBatch = Callable[[BatchSource, jax.Array, jax.Array], Batch]
ReadMetrics = Callable[[], Metrics]  # waits for the epoch
Epoch = Callable[
    [TrainState, BatchSource, EpochOrder, jax.Array, ProgressCallback],
    tuple[TrainState, ReadMetrics],
]


def is_stepwise(on_host: bool) -> bool:
    """Return whether each step is a call that the host waits for; otherwise an epoch is computed
    while the host goes on. `on_host`: whether the source is there."""
    return on_host or jax.default_backend() == "cpu"


@functools.cache
def make_epoch(
    step: Step,
    sharding: NamedSharding | None = None,
    on_host: bool = False,
    replicas: Replicas | None = None,
) -> Epoch:
    """Return `epoch(state, source, order, key, progress)`, cached by its arguments.

    It returns the state after all steps, and a function that waits for the metrics of the steps:
    NumPy arrays with an axis of steps in front. `state` is donated. With `on_host`, the source is
    transferred to the device batch by batch. With `replicas`, the step is that of
    `step.make_replica_step`, state, order, key and metrics have the axes of the replicas in front,
    and a source on the device is that of `replicas.share`; a ragged replica with fewer steps has
    empty batches at its end.
    """
    step = skip_empty_batches(step) if replicas and replicas.ragged else step
    make_batch = batch_maker(sharding)
    if replicas:
        make_batch = jax.vmap(make_batch, (None, 0, 0))
    make_epoch_function = _stepwise if is_stepwise(on_host) else _scanned
    return make_epoch_function(step, make_batch, replicas)


def batch_maker(sharding: NamedSharding | None) -> MakeBatch:
    """Return `dataset.make_batch` with the rows of the batch in this sharding."""
    if sharding is None:
        return dataset.make_batch

    def make_batch(source: BatchSource, indices: jax.Array, weight: jax.Array) -> Batch:
        batch = dataset.make_batch(source, indices, weight)
        return jax.lax.with_sharding_constraint(batch, sharding)

    return make_batch


def scan_steps(
    step: Step, make_batch: MakeBatch, axis: int = 0
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Return a function of state, source, order and key that takes all steps, not compiled.

    `axis` is that of the steps in order and metrics: 1 for the replicas of a device.
    """

    def take_steps(
        state: TrainState, source: BatchSource, order: EpochOrder, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, step_order: EpochOrder) -> tuple[TrainState, Metrics]:
            batch = make_batch(source, step_order.indices, step_order.weight)
            return step(state, batch, key, step_order.rate)

        order = jax.tree.map(lambda column: jnp.moveaxis(column, axis, 0), order)
        state, metrics = jax.lax.scan(body, state, order)
        return state, jax.tree.map(lambda values: jnp.moveaxis(values, 0, axis), metrics)

    return take_steps


def _scanned(step: Step, make_batch: MakeBatch, replicas: Replicas | None = None) -> Epoch:
    """Return the epoch as calls of a compiled loop of SCANNED_STEPS steps, and of single steps.

    Runs of different length then share two programs, whose numbers of steps XLA knows: it would ask
    the device before each step of a loop of unknown length.
    """
    take_steps = scan_steps(step, make_batch, 1 if replicas else 0)
    loop = jit_replicas(take_steps, replicas, donate_argnums=0)
    return call_in_pieces(loop, len(replicas.axes) if replicas else 0)


def call_in_pieces(loop: Callable[..., tuple[TrainState, Metrics]], axis: int) -> Epoch:
    """Return the epoch as calls of `loop`, a compiled function of state, source, order and key.

    `axis` is that of the steps in order and metrics.
    """

    def epoch(
        state: TrainState,
        source: BatchSource,
        order: EpochOrder,
        key: jax.Array,
        progress: ProgressCallback,
    ) -> tuple[TrainState, ReadMetrics]:
        n_steps = order.rate.shape[-1]
        parts = []
        for begin, end in _pieces(n_steps):
            steps = (slice(None),) * axis + (slice(begin, end),)
            state, metrics = loop(state, source, EpochOrder(*(c[steps] for c in order)), key)
            parts.append(metrics)

        def read() -> Metrics:
            values = jax.device_get(parts)
            progress(n_steps)
            return jax.tree.map(lambda *arrays: np.concatenate(arrays, axis), *values)

        return state, read

    return epoch


def _pieces(steps: int) -> list[tuple[int, int]]:
    """Return the begin and end of the calls that take `steps` steps."""
    whole = steps // SCANNED_STEPS * SCANNED_STEPS
    calls = [(begin, begin + SCANNED_STEPS) for begin in range(0, whole, SCANNED_STEPS)]
    return calls + [(number, number + 1) for number in range(whole, steps)]


def _stepwise(step: Step, make_batch: MakeBatch, replicas: Replicas | None = None) -> Epoch:
    """Return the epoch as one compiled call per step, for CPUs and for sources on the host.

    XLA rearranges a convolution's backward pass for the CPU's fast kernel only outside of loops:
    inside `lax.scan` a C1 step was 30 times slower (24.7 s instead of 0.86 s, jax 0.10.2, 2 cores).
    """
    make_batch = jit_replicas(make_batch, replicas)
    step = jit_replicas(step, replicas, donate_argnums=0)
    axis = len(replicas.axes) if replicas else 0  # of the steps
    # A CPU computes one step at a time: several devices would mix up their collectives.
    ahead = 0 if jax.default_backend() == "cpu" else MAX_STEPS_AHEAD

    def epoch(
        state: TrainState,
        source: BatchSource,
        order: EpochOrder,
        key: jax.Array,
        progress: ProgressCallback,
    ) -> tuple[TrainState, ReadMetrics]:
        epoch_metrics: Metrics = {}
        pending: deque[Metrics] = deque()
        steps_read = 0

        def read_steps(max_pending: int) -> None:
            nonlocal steps_read
            while len(pending) > max_pending:
                metrics = jax.device_get(pending.popleft())
                if not epoch_metrics:
                    epoch_metrics.update(_empty_metrics(metrics, len(rates), axis))
                for name, value in metrics.items():
                    np.moveaxis(epoch_metrics[name], axis, 0)[steps_read] = value
                steps_read += 1
                progress(1)

        indices, weights, rates = (np.moveaxis(np.asarray(column), axis, 0) for column in order)
        steps = zip(prefetch(source, indices), weights, rates, strict=True)
        for (subset, subset_indices), weight, rate in steps:
            rows = share(subset, replicas) if is_on_host(subset) else subset
            state, metrics = step(state, make_batch(rows, subset_indices, weight), key, rate)
            pending.append(metrics)
            read_steps(ahead)
        read_steps(0)
        return state, lambda: epoch_metrics

    return epoch


def _empty_metrics(metrics: Metrics, steps: int, axis: int) -> Metrics:
    """Return arrays like `metrics` with an axis of steps; an object per step would take more."""
    return {
        name: np.empty((*value.shape[:axis], steps, *value.shape[axis:]), value.dtype)
        for name, value in metrics.items()
    }
