"""The training step: a pure function of a state and a batch, for any objective and optimizer."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtl_jax.types import Params, TrainState

Metrics = dict[str, jax.Array]  # loss and update_norm, (), and the sums of the objective
# Maps parameters, a batch and a random key to the minimized loss and sums over the batch.
Objective = Callable[[Params, Any, jax.Array], tuple[jax.Array, Metrics]]
Step = Callable[[TrainState, Any, jax.Array, jax.Array], tuple[TrainState, Metrics]]


@functools.cache
def make_step(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """Return `step(state, batch, key, rate)`, which makes one update of the parameters.

    `optimizer` gives the direction, which is multiplied by the learning rate. The objective
    receives a key that is a function of (key, state.step) alone. Parameters, loss and update are
    float32.
    """
    minimized, update = _minimized(objective), _update(optimizer)

    def step(
        state: TrainState, batch: Any, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        gradient, metrics = jax.grad(minimized, has_aux=True)(state.params, batch, key, state.step)
        state, norm = update(state, gradient, rate)
        return state, metrics | {"update_norm": norm}

    return step


@functools.cache
def make_replica_step(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """Return the step of `make_step` for replicas, which are the first axis of all arrays.

    It is `make_step_by_sum` on GPUs alone. Of grouped convolutions XLA makes one convolution on
    CPUs, in which the values of all replicas meet, times zero: NaN would spread, and the last bits
    would depend on the others.
    """
    if jax.default_backend() == "cpu":
        return jax.vmap(make_step(objective, optimizer))
    return make_step_by_sum(objective, optimizer)


@functools.cache
def make_step_by_sum(objective: Objective, optimizer: optax.GradientTransformation) -> Step:
    """Return the step of replicas that takes the gradient of the sum of their losses, which has the
    gradient of each.

    Taken like this, the gradients of kernels are the grouped convolutions that GPUs have for them;
    `jax.vmap` of `make_step` makes forward convolutions of them, with windows of the size of a map
    (docs/benchmarks.md).
    """
    minimized, update = jax.vmap(_minimized(objective)), jax.vmap(_update(optimizer))

    def total(*arguments: Any) -> tuple[jax.Array, Metrics]:
        losses, metrics = minimized(*arguments)
        return losses.sum(), metrics

    def step(
        states: TrainState, batches: Any, keys: jax.Array, rates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        gradients, metrics = jax.grad(total, has_aux=True)(
            states.params, batches, keys, states.step
        )
        states, norms = update(states, gradients, rates)
        return states, metrics | {"update_norm": norms}

    return step


def _minimized(objective: Objective) -> Callable[..., tuple[jax.Array, Metrics]]:
    """Return the loss as a function of parameters, batch, key and number of steps, with metrics."""

    def minimized(
        params: Params, batch: Any, key: jax.Array, steps: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        loss, sums = objective(params, batch, jax.random.fold_in(key, steps))
        return loss, {"loss": loss, **sums}

    return minimized


def _update(
    optimizer: optax.GradientTransformation,
) -> Callable[[TrainState, Any, jax.Array], tuple[TrainState, jax.Array]]:
    """Return the update by a gradient and a learning rate, with the norm of its direction."""

    def update(state: TrainState, gradient: Any, rate: jax.Array) -> tuple[TrainState, jax.Array]:
        direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        # The norm is that of the updates: a norm of the gradients would force XLA to compute those
        # of the frozen layers too.
        return TrainState(state.step + 1, params, opt_state), optax.tree.norm(direction)

    return update


@functools.cache
def skip_empty_batches(step: Step) -> Step:
    """Return the `step` of replicas changed to keep the states whose batch has only weights 0."""

    def keep(nonempty: jax.Array, updated: TrainState, state: TrainState) -> TrainState:
        return jax.tree.map(lambda new, old: jnp.where(nonempty, new, old), updated, state)

    def guarded(
        states: TrainState, batches: Any, keys: jax.Array, rates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        updated, metrics = step(states, batches, keys, rates)
        return jax.vmap(keep)(batches.weight.any(-1), updated, states), metrics

    return guarded
