"""What a trained network says of regions: the mean over the eight orientations of each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.alexnet import LAYERS, AlexNet
from mtl_jax.nouns import Params
from mtl_jax.training import orientations
from mtl_jax.training.pool import Pool, draw
from mtl_jax.training.steps import malignancy

REGIONS_AT_ONCE = 32


def predict(network: AlexNet, params: Params, pool: Pool) -> np.ndarray:
    """Probability of malignant (n,) float32 of each region of `pool`, averaged over the eight."""
    return predict_with_features(network, params, pool)[0]


def predict_with_features(
    network: AlexNet, params: Params, pool: Pool, layer: str = "F4"
) -> tuple[np.ndarray, np.ndarray]:
    """As `predict`, and what `layer` (F1 to F4) gives (n, width) float32, averaged alike."""
    count = len(pool.label)
    parts = []
    for begin in range(0, count, REGIONS_AT_ONCE):
        # Always the same shape, so that one compiled program scores everything.
        regions = jnp.clip(begin + jnp.arange(REGIONS_AT_ONCE), 0, count - 1)
        parts.append(_means_of_eight(network, layer, params, pool, regions))
    scores, features = ([np.asarray(part[which]) for part in parts] for which in (0, 1))
    return np.concatenate(scores)[:count], np.concatenate(features)[:count]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _means_of_eight(
    network: AlexNet, layer: str, params: Params, pool: Pool, regions: jax.Array
) -> tuple[jax.Array, jax.Array]:
    picks = (regions[:, None] * orientations.COUNT + jnp.arange(orientations.COUNT)).ravel()
    batch = draw(pool, picks, jnp.ones(len(picks)))
    after = LAYERS[LAYERS.index(layer) + 1]
    found = network.apply({"params": params}, batch.image, last=layer)
    logits = network.apply({"params": params}, found, first=after)
    probability = malignancy(logits, batch.task)

    def mean(rows: jax.Array) -> jax.Array:
        return rows.reshape(-1, orientations.COUNT, *rows.shape[1:]).mean(1)

    return mean(probability), mean(found)
