"""Train replicas in forms that jobs do not use, to compare them with `jax.vmap` of the step.

`jax.vmap` of a step turns its convolutions into grouped ones, and the gradients of the kernels into
forward convolutions with large windows. Outside of the vmap, `jax.grad` gives the backward
convolutions that cuDNN has, with groups. Replicas one after another have plain convolutions. One
run is also compiled with XLA's default options, which `devices.jit` changes.

Each form has the epoch of all replicas on one device, with the arguments and results of
`training.epoch.make_epoch`, and calls its loop as jobs do.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtl_jax.training import dataset, devices
from mtl_jax.training.epoch import Epoch, EpochOrder, call_in_pieces, scan_steps
from mtl_jax.training.step import Metrics, Objective, Step, make_step
from mtl_jax.types import TrainState

ALONE, VMAP = "alone", "vmap"  # the forms of jobs: one run, and jax.vmap of its step
SUM, MAP = "gradient of the sum", "lax.map"
DEFAULTS = "alone, XLA's defaults"
TakeSteps = Callable[
    [TrainState, dataset.BatchSource, EpochOrder, jax.Array], tuple[TrainState, Metrics]
]


def make_epoch(form: str, objective: Objective, optimizer: optax.GradientTransformation) -> Epoch:
    """Return the epoch of replicas in the form SUM or MAP, or of one run in the form DEFAULTS."""
    if form == DEFAULTS:
        take_steps = scan_steps(make_step(objective, optimizer), dataset.make_batch)
        return call_in_pieces(jax.jit(take_steps, donate_argnums=0), 0)
    take_steps = {SUM: take_steps_by_sum, MAP: take_steps_by_map}[form](objective, optimizer)
    return call_in_pieces(devices.jit(take_steps, donate_argnums=0), 1)


def take_steps_by_sum(objective: Objective, optimizer: optax.GradientTransformation) -> TakeSteps:
    """Return a function that takes all steps, each by the gradient of the sum of the objectives."""
    make_batch = jax.vmap(dataset.make_batch, (None, 0, 0))
    scan = scan_steps(_step_by_sum(objective, optimizer), make_batch)

    def take_steps(
        states: TrainState, source: dataset.BatchSource, orders: EpochOrder, keys: jax.Array
    ) -> tuple[TrainState, Metrics]:
        states, metrics = scan(states, source, _swap_axes(orders), keys)
        return states, _swap_axes(metrics)

    return take_steps


def _step_by_sum(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """Return the step of `training.step.make_step` for stacked replicas.

    The gradient of the sum of the objectives has the gradient of each replica, because none depends
    on the parameters of another.
    """

    def update(state: TrainState, gradient: Any, rate: jax.Array) -> tuple[TrainState, jax.Array]:
        direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        return TrainState(state.step + 1, params, opt_state), optax.tree.norm(direction)

    def step(
        states: TrainState, batches: Any, keys: jax.Array, rates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        step_keys = jax.vmap(jax.random.fold_in)(keys, states.step)

        def total(params: Any) -> tuple[jax.Array, Metrics]:
            losses, sums = jax.vmap(objective)(params, batches, step_keys)
            return losses.sum(), {"loss": losses, **sums}

        gradients, metrics = jax.grad(total, has_aux=True)(states.params)
        states, norms = jax.vmap(update)(states, gradients, rates)
        return states, metrics | {"update_norm": norms}

    return step


def take_steps_by_map(objective: Objective, optimizer: optax.GradientTransformation) -> TakeSteps:
    """Return a function that takes all steps of one replica after another.

    It is `jax.lax.map` over the replicas, but their states are carried and updated in place:
    `lax.map` would copy all of them.
    """
    take_steps_of_one = scan_steps(make_step(objective, optimizer), dataset.make_batch)

    def take_steps(
        states: TrainState, source: dataset.BatchSource, orders: EpochOrder, keys: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def body(
            states: TrainState, replica: tuple[jax.Array, EpochOrder, jax.Array]
        ) -> tuple[TrainState, Metrics]:
            number, order, key = replica
            state = jax.tree.map(lambda leaf: leaf[number], states)
            state, metrics = take_steps_of_one(state, source, order, key)
            states = jax.tree.map(
                lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, number, 0),
                states,
                state,
            )
            return states, metrics

        numbers = jnp.arange(len(orders.rate))
        return jax.lax.scan(body, states, (numbers, orders, keys))

    return take_steps


def _swap_axes(tree: Any) -> Any:
    """Exchange the axes of the replicas and of the steps, which are the first two."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)
