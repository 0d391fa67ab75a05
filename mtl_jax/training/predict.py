"""Scores of a trained network: the mean over the eight orientations of each region."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.alexnet import AlexNet
from mtl_jax.nouns import Params
from mtl_jax.training import orientations
from mtl_jax.training.pool import Pool, draw
from mtl_jax.training.steps import malignancy

REGIONS_AT_ONCE = 32


def predict(network: AlexNet, params: Params, pool: Pool) -> np.ndarray:
    """Probability of malignant (n,) float32 of each region of `pool`, averaged over the eight."""
    count = len(pool.label)
    scores = []
    for begin in range(0, count, REGIONS_AT_ONCE):
        # Always the same shape, so that one compiled program scores everything.
        regions = jnp.clip(begin + jnp.arange(REGIONS_AT_ONCE), 0, count - 1)
        scores.append(np.asarray(_mean_of_eight(network, params, pool, regions)))
    return np.concatenate(scores)[:count]


@functools.partial(jax.jit, static_argnums=0)
def _mean_of_eight(network: AlexNet, params: Params, pool: Pool, regions: jax.Array) -> jax.Array:
    picks = (regions[:, None] * orientations.COUNT + jnp.arange(orientations.COUNT)).ravel()
    batch = draw(pool, picks, jnp.ones(len(picks)))
    return malignancy(network, params, batch).reshape(-1, orientations.COUNT).mean(1)
