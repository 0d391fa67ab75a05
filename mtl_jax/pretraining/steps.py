"""The training step, learning rate and metrics of the pretraining, as pure functions."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mtl_jax.pretraining.network import NetworkConfig, logits
from mtl_jax.pretraining.task import Examples
from mtl_jax.types import Params, TrainState


class MetricSums(NamedTuple):
    """Weighted sums over examples; divided by `count` they are means."""

    loss: jax.Array  # cross-entropy
    top1: jax.Array  # correct predictions
    top5: jax.Array  # true class among the five highest scores
    count: jax.Array  # weights


Step = Callable[[TrainState, Examples, jax.Array, jax.Array], tuple[TrainState, MetricSums]]


def make_optimizer(kind: str, momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """Return the transformation whose update the step multiplies by minus the learning rate.

    'sgd' has momentum and decay as in Krizhevsky et al. 2012, section 5; 'adam' has decoupled decay
    (Loshchilov and Hutter 2019, arXiv:1711.05101).
    """
    if kind == "sgd":
        return optax.chain(optax.add_decayed_weights(weight_decay), optax.trace(momentum))
    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(weight_decay))


def learning_rate(
    progress: jax.Array, first: float, last: float, schedule: str, warmup: float
) -> jax.Array:
    """Return the learning rate, from `first` to `last`, at each fraction `progress` of the run.

    'steps' divides by ten at equal intervals until about `last`, as Krizhevsky et al. 2012, section
    5, did three times by hand; 'cosine' is a half cosine. In the fraction `warmup` the rate rises
    linearly from 0.
    """
    if schedule == "steps":
        drops = round(float(jnp.log10(first / last)))
        rate = first * 10.0 ** -jnp.floor(progress * (drops + 1))
    else:
        rate = last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
    return rate * jnp.minimum(1.0, progress / warmup) if warmup else rate


@functools.cache
def make_step(
    config: NetworkConfig, kind: str, momentum: float, weight_decay: float, dropout: float
) -> Step:
    """Return the compiled `step(state, examples, key, rate)`, which makes one update.

    Dropout is a function of `key` and the step number. The step is compiled once for equal
    arguments, and `state` is donated.
    """
    tx = make_optimizer(kind, momentum, weight_decay)

    def step(
        state: TrainState, examples: Examples, key: jax.Array, rate: jax.Array
    ) -> tuple[TrainState, MetricSums]:
        def loss(params: Params) -> tuple[jax.Array, MetricSums]:
            dropout_key = jax.random.fold_in(key, state.step)
            scores = logits(config, params, examples.image, dropout, dropout_key)
            sums = sum_metrics(scores, examples)
            return sums.loss / jnp.maximum(sums.count, 1), sums

        gradient, sums = jax.grad(loss, has_aux=True)(state.params)
        direction, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        return TrainState(state.step + 1, params, opt_state), sums

    return jax.jit(step, donate_argnums=0)


def sum_metrics(scores: jax.Array, examples: Examples) -> MetricSums:
    """Return the metric sums of a batch from its logits (n, classes)."""
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, examples.label)
    true_score = jnp.take_along_axis(scores, examples.label[:, None], axis=1)
    # Rank of the true class; tied classes rank before it.
    rank = (scores >= true_score).sum(1)
    metrics = [losses, rank <= 1, rank <= 5, jnp.ones_like(losses)]
    return MetricSums(*((examples.weight * metric).sum() for metric in metrics))
