"""One epoch of training steps, compiled as suits the device."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding

from mtl_jax.models.base import Network
from mtl_jax.training import optimizer
from mtl_jax.training.dataset import BatchSource, make_batch
from mtl_jax.training.optimizer import SGD
from mtl_jax.training.prefetch import prefetch
from mtl_jax.training.replicas import Replicas, jit_replicas
from mtl_jax.training.steps import Metrics, Step, make_train_step, skip_empty_batches
from mtl_jax.types import Batch, TrainState


class EpochOrder(NamedTuple):
    """What each step takes: indices and weight (steps, batch), learning rate (steps,). Of replicas,
    each leads with the axes of the replicas."""

    indices: jax.Array
    weight: jax.Array
    rate: jax.Array


MakeBatch = Callable[[BatchSource, jax.Array, jax.Array], Batch]
ProgressCallback = Callable[[int], object]  # called with the number of steps done
Epoch = Callable[
    [TrainState, BatchSource, EpochOrder, jax.Array, ProgressCallback], tuple[TrainState, Metrics]
]


@functools.cache
def make_epoch(
    network: Network,
    frozen: tuple[str, ...],
    sgd: SGD,
    task_weights: tuple[float, ...],
    sharding: NamedSharding | None,
    first: str,
    on_host: bool,
    precision: str = "float32",
    replicas: Replicas | None = None,
) -> Epoch:
    """Return `epoch(state, source, order, key, tick)` -> the state after all steps, and their
    metrics.

    `first` is the layer that the source's images go into; `on_host`: the source is too large for
    the device and is sent there batch by batch.

    The metrics are NumPy arrays with a leading axis of steps. `state` is donated. With `replicas`,
    state, order, key and metrics lead with their axes; of uneven ones, a replica with fewer steps
    than others has empty batches, of weight 0, at its end. Made, and compiled, once for all runs
    with the same arguments.
    """
    tx = optimizer.make_optimizer(frozen, sgd)
    step = make_train_step(network, tx, task_weights, first, precision)
    step = skip_empty_batches(step) if replicas and replicas.ragged else step

    def draw_placed(source: BatchSource, indices: jax.Array, weight: jax.Array) -> Batch:
        batch = make_batch(source, indices, weight)
        return batch if sharding is None else jax.lax.with_sharding_constraint(batch, sharding)

    stepwise = on_host or jax.default_backend() == "cpu"
    make = _stepwise if stepwise else _scanned
    return make(step, draw_placed, replicas)


def _scanned(
    step: Step, make_batch: Callable[..., Batch], replicas: Replicas | None = None
) -> Epoch:
    """Return the whole epoch in one compiled loop, with nothing to wait for on the host."""

    def loop(
        state: TrainState, source: BatchSource, order: EpochOrder, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, now: EpochOrder) -> tuple[TrainState, Metrics]:
            return step(state, make_batch(source, now.indices, now.weight), key, now.rate)

        return jax.lax.scan(body, state, order)

    loop = jit_replicas(loop, (0, None, 0, 0), replicas, donate_argnums=0)

    def epoch(
        state: TrainState,
        source: BatchSource,
        order: EpochOrder,
        key: jax.Array,
        tick: ProgressCallback,
    ) -> tuple[TrainState, Metrics]:
        state, metrics = loop(state, source, order, key)
        metrics = jax.device_get(metrics)
        tick(order.rate.shape[-1])
        return state, metrics

    return epoch


def _stepwise(
    step: Step, make_batch: Callable[..., Batch], replicas: Replicas | None = None
) -> Epoch:
    """Return one compiled call a step: for CPUs, and for what does not fit on the device.

    XLA rearranges a convolution's backward pass for the CPU's fast kernel only outside of loops:
    inside `lax.scan` a C1 step was 30 times slower (24.7 s against 0.86 s, jax 0.10.2, 2 cores).
    """
    make_batch = jit_replicas(make_batch, (None, 0, 0), replicas)
    step = jit_replicas(step, (0, 0, 0, 0), replicas, donate_argnums=0)
    axis = len(replicas.axes) if replicas else 0  # of the steps

    def epoch(
        state: TrainState,
        source: BatchSource,
        order: EpochOrder,
        key: jax.Array,
        tick: ProgressCallback,
    ) -> tuple[TrainState, Metrics]:
        found = None
        indices, weights, rates = (np.moveaxis(np.asarray(column), axis, 0) for column in order)
        batches = prefetch(source, indices)
        steps = zip(batches, weights, rates, strict=True)
        for number, ((near, indices), weight, rate) in enumerate(steps):
            state, metrics = step(state, make_batch(near, indices, weight), key, rate)
            # Waiting here keeps the progress honest, and several CPU devices from running into
            # each other's rendezvous.
            metrics = jax.device_get(metrics)
            found = found or _room(metrics, len(rates), axis)
            for column, value in zip(found, metrics, strict=True):
                np.moveaxis(column, axis, 0)[number] = value
            tick(1)
        return state, found

    return epoch


def _room(metrics: Metrics, steps: int, axis: int) -> Metrics:
    """For those of all steps, as arrays with an axis of steps: a Python object for each would take
    more memory than the labels of the ROIs."""
    shapes = ((*value.shape[:axis], steps, *value.shape[axis:]) for value in metrics)
    return Metrics(*map(np.empty, shapes, (value.dtype for value in metrics)))
