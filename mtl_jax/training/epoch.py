"""One epoch of training steps, compiled as suits the device. Knows no files and no schedule."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding

from mtl_jax.models.alexnet import AlexNet
from mtl_jax.nouns import Batch, TrainState
from mtl_jax.training import transfer
from mtl_jax.training.pool import Pool, draw
from mtl_jax.training.steps import Metrics, Step, make_train_step


class Order(NamedTuple):
    """What each step takes: picks and weight (steps, batch), learning rate (steps,)."""

    picks: jax.Array
    weight: jax.Array
    rate: jax.Array


Tick = Callable[[int], object]  # told how many steps were done
Epoch = Callable[[TrainState, Pool, Order, jax.Array, Tick], tuple[TrainState, Metrics]]


@functools.cache
def make_epoch(
    network: AlexNet,
    frozen: tuple[str, ...],
    momentum: float,
    weight_decay: float,
    task_weights: tuple[float, ...],
    sharding: NamedSharding | None,
) -> Epoch:
    """`epoch(state, pool, order, key, tick)` -> the state after all steps, and their metrics.

    The metrics are NumPy arrays with a leading axis of steps. `state` is donated. Made, and
    compiled, once for all runs with the same arguments.
    """
    optimizer = transfer.optimizer(frozen, momentum, weight_decay)
    step = make_train_step(network, optimizer, task_weights)

    def draw_placed(pool: Pool, picks: jax.Array, weight: jax.Array) -> Batch:
        batch = draw(pool, picks, weight)
        return batch if sharding is None else jax.lax.with_sharding_constraint(batch, sharding)

    make = _stepwise if jax.default_backend() == "cpu" else _scanned
    return make(step, draw_placed)


def _scanned(step: Step, draw: Callable[..., Batch]) -> Epoch:
    """The whole epoch in one compiled loop, with nothing to wait for on the host."""

    @functools.partial(jax.jit, donate_argnums=0)
    def compiled(
        state: TrainState, pool: Pool, order: Order, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, now: Order) -> tuple[TrainState, Metrics]:
            return step(state, draw(pool, now.picks, now.weight), key, now.rate)

        return jax.lax.scan(body, state, order)

    def epoch(
        state: TrainState, pool: Pool, order: Order, key: jax.Array, tick: Tick
    ) -> tuple[TrainState, Metrics]:
        state, metrics = compiled(state, pool, order, key)
        metrics = jax.device_get(metrics)
        tick(len(order.rate))
        return state, metrics

    return epoch


def _stepwise(step: Step, draw: Callable[..., Batch]) -> Epoch:
    """One compiled call a step, for CPUs.

    XLA rearranges a convolution's backward pass for the CPU's fast kernel only outside of loops:
    inside `lax.scan` a C1 step was 30 times slower (24.7 s against 0.86 s, jax 0.10.2, 2 cores).
    """
    draw = jax.jit(draw)
    step = jax.jit(step, donate_argnums=0)

    def epoch(
        state: TrainState, pool: Pool, order: Order, key: jax.Array, tick: Tick
    ) -> tuple[TrainState, Metrics]:
        rows = []
        for picks, weight, rate in zip(*order, strict=True):
            state, metrics = step(state, draw(pool, picks, weight), key, rate)
            # Waiting here keeps the progress honest, and several CPU devices from running into
            # each other's rendezvous.
            rows.append(jax.device_get(metrics))
            tick(1)
        return state, jax.tree.map(lambda *r: np.stack(r), *rows)

    return epoch
