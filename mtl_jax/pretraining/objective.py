"""The objective of pretraining, and its metrics."""

import functools

import jax
import jax.numpy as jnp
import optax

from mtl_jax.pretraining.network import NetworkConfig, logits
from mtl_jax.pretraining.task import Examples
from mtl_jax.training.step import Metrics, Objective
from mtl_jax.types import Params


@functools.cache
def classification_objective(config: NetworkConfig, dropout: float) -> Objective:
    """Return the objective: the mean cross-entropy of a batch, with the sums of `sum_metrics`."""

    def objective(params: Params, examples: Examples, key: jax.Array) -> tuple[jax.Array, Metrics]:
        scores = logits(config, params, examples.image, dropout, key)
        sums = sum_metrics(scores, examples)
        return sums["cross_entropy"] / jnp.maximum(sums["count"], 1), sums

    return objective


def sum_metrics(scores: jax.Array, examples: Examples) -> Metrics:
    """Return weighted sums over a batch from its logits (n, classes): of the cross-entropy, correct
    predictions (top1), true classes among the five highest scores (top5), and weights (count)."""
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, examples.label)
    true_score = jnp.take_along_axis(scores, examples.label[:, None], axis=1)
    # Rank of the true class; tied classes rank before it.
    rank = (scores >= true_score).sum(1)
    metrics = {
        "cross_entropy": losses,
        "top1": rank <= 1,
        "top5": rank <= 5,
        "count": jnp.ones_like(losses),
    }
    return {name: (examples.weight * metric).sum() for name, metric in metrics.items()}
