"""Which pixels a network's answer rests on, by integrated gradients (Sundararajan et al. 2017). A
modern companion of the deconvolution maps; it changes nothing in the network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.base import Network
from mtl_jax.training.steps import head_logits
from mtl_jax.types import Params


def integrated_gradients(
    network: Network, params: Params, gray: np.ndarray, task: int, steps: int
) -> np.ndarray:
    """Return (s, s) float32: what each pixel adds to the log odds of malignant, against an ROI of
    the collection's mean gray. Positive values support malignant. They add up to the log odds of
    the ROI less those of the plain one, the better the more `steps`.

    `gray` (s, s) is standardized, so that 0 is the mean; `task` chooses the head.
    """
    shares = (np.arange(steps, dtype=np.float32) + 0.5) / steps  # midpoints
    path = shares[:, None, None] * np.float32(gray)
    return np.float32(gray * np.asarray(_gradients(network, params, path, task)).mean(0))


def log_odds(network: Network, params: Params, gray: jax.Array, task: int) -> jax.Array:
    """Return (n,) of malignant against benign, for standardized ROIs (n, s, s)."""
    image = jnp.repeat(gray[..., None], 3, axis=-1)
    logits = network.apply({"params": params}, image)
    benign, malignant = head_logits(logits, jnp.full(len(gray), task)).T
    return malignant - benign


@functools.partial(jax.jit, static_argnums=0)
def _gradients(network: Network, params: Params, gray: jax.Array, task: int) -> jax.Array:
    return jax.grad(lambda x: log_odds(network, params, x, task).sum())(gray)
