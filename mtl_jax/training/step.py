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

    def step(
        state: TrainState, batch: Any, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(key, state.step)
        (loss, sums), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params, batch, step_key
        )
        direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        # The norm is that of the updates: a norm of the gradients would force XLA to compute those
        # of the frozen layers too.
        metrics = {"loss": loss, "update_norm": optax.tree.norm(direction), **sums}
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


@functools.cache
def skip_empty_batches(step: Step) -> Step:
    """Return `step` changed to keep the state if all rows of the batch have weight 0."""

    def guarded(
        state: TrainState, batch: Any, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        updated, metrics = step(state, batch, key, rate)
        nonempty = batch.weight.any()
        kept = jax.tree.map(lambda new, old: jnp.where(nonempty, new, old), updated, state)
        return kept, metrics

    return guarded
