"""The training step and the scoring step, pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtl_jax.models.base import Network
from mtl_jax.types import Batch, Params, TrainState


class Metrics(NamedTuple):
    """Of one step: loss () as minimized, and for each task (t,) the sum of the cross-entropies,
    the number of right answers and the number of rows; norm () of the update before the rate."""

    loss: jax.Array
    cross_entropy: jax.Array
    right: jax.Array
    rows: jax.Array
    update_norm: jax.Array


Step = Callable[[TrainState, Batch, jax.Array, jax.Array], tuple[TrainState, Metrics]]


def head_logits(logits: jax.Array, task: jax.Array) -> jax.Array:
    """Return the two logits (n, 2) of each row's own head, from (n, 2) or (n, 2 tasks)."""
    heads = logits.reshape(logits.shape[0], -1, 2)
    which = task if heads.shape[1] > 1 else jnp.zeros_like(task)
    return jnp.take_along_axis(heads, which[:, None, None], axis=1)[:, 0]


def make_train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    task_weights: tuple[float, ...],
    first: str = "C1",
    precision: str = "float32",
) -> Step:
    """Return `step(state, batch, key, rate)`: one update of stochastic gradient descent.

    `first` is the layer that the batch's images go into: C1, or the one after the frozen layers
    where the images are their maps. The loss is the mean cross-entropy of the batch's rows, each
    weighted by `task_weights` of its task. Dropout is a function of (key, state.step) alone.
    `precision` is that of the layers' computation, forward and backward; parameters, loss, momentum
    and update are float32.
    """
    computed = jnp.dtype(precision)
    weights = jnp.asarray(task_weights, jnp.float32)

    def step(
        state: TrainState, batch: Batch, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def loss(params: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            logits = network.apply(
                {"params": jax.tree.map(lambda p: p.astype(computed), params)},
                batch.image.astype(computed),
                first,
                train=True,
                rngs={"dropout": jax.random.fold_in(key, state.step)},
            )
            logits = head_logits(logits.astype(jnp.float32), batch.task)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
            weight = batch.weight * weights[batch.task]
            mean = (weight * losses).sum() / jnp.maximum(weight.sum(), 1e-12)
            return mean, (losses, logits.argmax(-1) == batch.label)

        (value, (losses, right)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
        # The norm is that of the updates: a norm of the gradients would force XLA to compute the
        # frozen layers' too, which it otherwise leaves out.
        direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        rows = batch.weight[:, None] * jax.nn.one_hot(batch.task, len(weights))
        metrics = Metrics(
            value,
            (rows * losses[:, None]).sum(0),
            (rows * right[:, None]).sum(0),
            rows.sum(0),
            optax.tree.norm(direction),
        )
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def skip_empty_batches(step: Step) -> Step:
    """Return `step`, which leaves the state as it is where no row of the batch has a weight."""

    def guarded(
        state: TrainState, batch: Batch, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        after, metrics = step(state, batch, key, rate)
        some = batch.weight.any()
        return jax.tree.map(lambda new, old: jnp.where(some, new, old), after, state), metrics

    return guarded


def malignancy_probability(logits: jax.Array, task: jax.Array) -> jax.Array:
    """Probability (n,) of malignant of each row, by the softmax of its own head."""
    return jax.nn.softmax(head_logits(logits, task))[:, 1]
