"""Features of the fully connected layers, averaged over the eight orientations of an ROI."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.base import Network
from mtl_jax.training import orientations
from mtl_jax.training.dataset import Dataset, make_batch
from mtl_jax.types import Params

LAYERS = ("F1", "F2", "F3", "F4")  # the layers whose features the paper embeds
BATCH_ROIS = 32


def averaged_features(network: Network, params: Params, dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the mean output of each of LAYERS over an ROI's orientations, (n, nodes) float32."""
    count = int(dataset.count)
    batches: dict[str, list[np.ndarray]] = {layer: [] for layer in LAYERS}
    for begin in range(0, count, BATCH_ROIS):
        # Always the same shape, so that there is one compiled program.
        rois = jnp.clip(begin + jnp.arange(BATCH_ROIS), 0, count - 1)
        for layer, values in _mean_of_eight(network, params, dataset, rois).items():
            batches[layer].append(np.asarray(values))
    return {layer: np.concatenate(values)[:count] for layer, values in batches.items()}


@functools.partial(jax.jit, static_argnums=0)
def _mean_of_eight(
    network: Network, params: Params, dataset: Dataset, rois: jax.Array
) -> dict[str, jax.Array]:
    indices = (rois[:, None] * orientations.COUNT + jnp.arange(orientations.COUNT)).ravel()
    x = make_batch(dataset, indices, jnp.ones(len(indices))).image
    means, first = {}, "C1"
    for layer, following in zip(LAYERS, (*LAYERS[1:], "F5"), strict=True):
        x = network.apply({"params": params}, x, first, layer)
        means[layer] = x.reshape(-1, orientations.COUNT, x.shape[-1]).mean(1)
        first = following
    return means
