"""Loss functions of `config.train.loss`: the loss of each row from its two logits."""

from collections.abc import Callable

import jax
import optax
from ml_collections import ConfigDict

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return the cross-entropy (n,) of logits (n, 2) and labels (n,) int32."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label)


# Each entry takes config.train. A loss with settings is made by a cached function, so that equal
# settings give the same object and no program is compiled twice.
LOSSES: dict[str, Callable[[ConfigDict], Loss]] = {
    "cross_entropy": lambda train: cross_entropy,
}
