"""Loss functions of `config.train.loss`: the loss of each row from its two logits."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return the cross-entropy (n,) of logits (n, 2) and labels (n,) int32."""
    # With one-hot labels: the gradient of a gather is a scatter-add, which GPUs do atomically.
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(label, 2, dtype=logits.dtype))


@functools.cache
def focal(gamma: float) -> Loss:
    """Return the focal loss of Lin et al. 2017 (arXiv:1708.02002), eq. 4: the cross-entropy times
    (1 - p) ** `gamma`, where p is the probability of the true class."""

    def loss(logits: jax.Array, label: jax.Array) -> jax.Array:
        entropy = cross_entropy(logits, label)
        # Above 0, because the derivative of a power below 1 is infinite there.
        error = jnp.maximum(-jnp.expm1(-entropy), 1e-7)
        return error**gamma * entropy

    return loss


# Each entry takes config.train. A loss with settings is made by a cached function, so that equal
# settings give the same object and no program is compiled twice.
LOSSES: dict[str, Callable[[ConfigDict], Loss]] = {
    "cross_entropy": lambda train: cross_entropy,
    "focal": lambda train: focal(train.focal_gamma),
}
