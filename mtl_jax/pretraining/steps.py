"""The training step and the scoring step of the source task: pure functions, no files."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtl_jax.pretraining.network import Form, logits
from mtl_jax.pretraining.task import Examples
from mtl_jax.types import Params, TrainState


class Sums(NamedTuple):
    """Over examples: cross-entropy, right answers, right answers among the first five, weights."""

    loss: jax.Array
    top1: jax.Array
    top5: jax.Array
    count: jax.Array


Step = Callable[[TrainState, Examples, jax.Array, jax.Array], tuple[TrainState, Sums]]


def optimizer(kind: str, momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """Direction of descent, which the step multiplies by minus the learning rate.

    'sgd' with momentum and decay as in Krizhevsky et al. 2012, section 5 (in the form of
    `training.transfer.optimizer`); 'adam' with decay apart from the moments (Loshchilov & Hutter
    2019, arXiv:1711.05101).
    """
    if kind == "sgd":
        return optax.chain(optax.add_decayed_weights(weight_decay), optax.trace(momentum))
    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(weight_decay))


def learning_rate(
    progress: jax.Array, first: float, last: float, schedule: str, warmup: float
) -> jax.Array:
    """Return the rate at `progress` (0 to 1) of the training, which rises from 0 over its part
    `warmup`.

    'steps': tenfold drops at equal distances from `first` to about `last` (three of them in
    Krizhevsky et al. 2012, section 5, where a person chose when); 'cosine': half a wave.
    """
    if schedule == "steps":
        drops = round(float(jnp.log10(first / last)))
        rate = first * 10.0 ** -jnp.floor(progress * (drops + 1))
    else:
        rate = last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return rate * jnp.minimum(1.0, progress / warmup) if warmup else rate


@functools.cache
def make_step(form: Form, kind: str, momentum: float, weight_decay: float, dropout: float) -> Step:
    """Return `step(state, examples, key, rate)`: one update; dropout is a function of (key, step).

    Compiled, and once for all trainings with the same arguments; `state` is donated.
    """
    tx = optimizer(kind, momentum, weight_decay)

    def step(
        state: TrainState, examples: Examples, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, Sums]:
        def loss(params: Params) -> tuple[jax.Array, Sums]:
            own = jax.random.fold_in(key, state.step)
            sums = count(logits(form, params, examples.image, dropout, own), examples)
            return sums.loss / jnp.maximum(sums.count, 1), sums

        gradient, sums = jax.grad(loss, has_aux=True)(state.params)
        direction, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        return TrainState(state.step + 1, params, opt_state), sums

    return jax.jit(step, donate_argnums=0)


def count(scores: jax.Array, examples: Examples) -> Sums:
    """Sums over the examples of a batch from their logits (n, classes)."""
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, examples.label)
    true = jnp.take_along_axis(scores, examples.label[:, None], axis=1)
    # How many classes score at least as much as the true one; ties count against.
    rank = (scores >= true).sum(1)
    weighted = [losses, rank <= 1, rank <= 5, jnp.ones_like(losses)]
    return Sums(*((examples.weight * value).sum() for value in weighted))
