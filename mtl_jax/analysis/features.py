"""Features of the fully connected layers, averaged over the eight orientations. Embeds nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.base import Network
from mtl_jax.training import orientations
from mtl_jax.training.dataset import Dataset, make_batch
from mtl_jax.types import Params

LAYERS = ("F1", "F2", "F3", "F4")  # those whose features the paper embeds
BATCH_ROIS = 32


def averaged(network: Network, params: Params, pool: Dataset) -> dict[str, np.ndarray]:
    """What each of LAYERS puts out for each ROI of `pool`, (n, nodes) float32, without dropout,
    the mean over the ROI's eight orientations."""
    count = len(pool.label)
    parts: dict[str, list[np.ndarray]] = {layer: [] for layer in LAYERS}
    for begin in range(0, count, BATCH_ROIS):
        # Always the same shape, so that one compiled program does them all.
        rois = jnp.clip(begin + jnp.arange(BATCH_ROIS), 0, count - 1)
        for layer, found in _mean_of_eight(network, params, pool, rois).items():
            parts[layer].append(np.asarray(found))
    return {layer: np.concatenate(found)[:count] for layer, found in parts.items()}


@functools.partial(jax.jit, static_argnums=0)
def _mean_of_eight(
    network: Network, params: Params, pool: Dataset, rois: jax.Array
) -> dict[str, jax.Array]:
    indices = (rois[:, None] * orientations.COUNT + jnp.arange(orientations.COUNT)).ravel()
    x = make_batch(pool, indices, jnp.ones(len(indices))).image
    found, first = {}, "C1"
    for layer, following in zip(LAYERS, (*LAYERS[1:], "F5"), strict=True):
        x = network.apply({"params": params}, x, first, layer)
        found[layer] = x.reshape(-1, orientations.COUNT, x.shape[-1]).mean(1)
        first = following
    return found
