"""The training step and the probability of malignancy, as pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtl_jax.models.base import Network
from mtl_jax.types import Batch, Params, TrainState


class Metrics(NamedTuple):
    """Metrics of one step for t tasks."""

    loss: jax.Array  # (), the minimized loss
    cross_entropy: jax.Array  # (t,) sum
    correct: jax.Array  # (t,) number of correct predictions
    rows: jax.Array  # (t,) number of rows
    update_norm: jax.Array  # (), before the update is multiplied by the learning rate


Step = Callable[[TrainState, Batch, jax.Array, jax.Array], tuple[TrainState, Metrics]]


def head_logits(logits: jax.Array, task: jax.Array) -> jax.Array:
    """Return the two logits (n, 2) of each row's task, from (n, 2) or (n, 2 tasks)."""
    heads = logits.reshape(logits.shape[0], -1, 2)
    head = task if heads.shape[1] > 1 else jnp.zeros_like(task)
    return jnp.take_along_axis(heads, head[:, None, None], axis=1)[:, 0]


def make_train_step(
    network: Network,
    optimizer: optax.GradientTransformation,
    task_weights: tuple[float, ...],
    first: str = "C1",
    precision: str = "float32",
) -> Step:
    """Return `step(state, batch, key, rate)`: one update of stochastic gradient descent.

    The loss is the mean cross-entropy of the batch's rows, weighted by task. `optimizer` gives the
    direction, which is multiplied by the learning rate. Dropout is a function of (key, state.step)
    alone. Layer `first` receives the batch's images: C1, or the one after the frozen layers if they
    are activations. `precision` is the dtype of the layers' computation; parameters, loss, momentum
    and update are float32.
    """
    dtype = jnp.dtype(precision)
    weights = jnp.asarray(task_weights, jnp.float32)

    def step(
        state: TrainState, batch: Batch, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        def loss(params: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            logits = network.apply(
                {"params": jax.tree.map(lambda p: p.astype(dtype), params)},
                batch.image.astype(dtype),
                first,
                train=True,
                rngs={"dropout": jax.random.fold_in(key, state.step)},
            )
            logits = head_logits(logits.astype(jnp.float32), batch.task)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
            weight = batch.weight * weights[batch.task]
            mean = (weight * losses).sum() / jnp.maximum(weight.sum(), 1e-12)
            return mean, (losses, logits.argmax(-1) == batch.label)

        (value, (losses, correct)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
        # The norm is that of the updates: a norm of the gradients would force XLA to compute those
        # of the frozen layers too.
        direction, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        rows = batch.weight[:, None] * jax.nn.one_hot(batch.task, len(weights))
        metrics = Metrics(
            value,
            (rows * losses[:, None]).sum(0),
            (rows * correct[:, None]).sum(0),
            rows.sum(0),
            optax.tree.norm(direction),
        )
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def skip_empty_batches(step: Step) -> Step:
    """Return `step` changed to keep the state if all rows of the batch have weight 0."""

    def guarded(
        state: TrainState, batch: Batch, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        updated, metrics = step(state, batch, key, rate)
        nonempty = batch.weight.any()
        kept = jax.tree.map(lambda new, old: jnp.where(nonempty, new, old), updated, state)
        return kept, metrics

    return guarded


def malignancy_probability(logits: jax.Array, task: jax.Array) -> jax.Array:
    """Return the probability of malignancy (n,): the softmax of the logits of each row's task."""
    return jax.nn.softmax(head_logits(logits, task))[:, 1]
