"""Attribution maps by integrated gradients (Sundararajan et al. 2017)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.base import Network
from mtl_jax.training.objective import head_logits
from mtl_jax.types import Params


def integrated_gradients(
    network: Network, params: Params, gray: np.ndarray, task: int, steps: int
) -> np.ndarray:
    """Return the contribution of each pixel to the log odds of malignancy, (s, s) float32.

    The baseline is 0, the mean gray of the collection, in the standardized ROI `gray` (s, s). The
    sum is the log odds of the ROI minus those of the baseline; the error falls with `steps`.
    """
    fractions = (np.arange(steps, dtype=np.float32) + 0.5) / steps  # midpoints
    path = fractions[:, None, None] * np.float32(gray)
    return np.float32(gray * np.asarray(_gradients(network, params, path, task)).mean(0))


def log_odds(network: Network, params: Params, gray: jax.Array, task: int) -> jax.Array:
    """Return the log odds of malignancy (n,) of standardized ROIs (n, s, s)."""
    image = jnp.repeat(gray[..., None], 3, axis=-1)
    logits = network.apply({"params": params}, image)
    benign, malignant = head_logits(logits, jnp.full(len(gray), task)).T
    return malignant - benign


@functools.partial(jax.jit, static_argnums=0)
def _gradients(network: Network, params: Params, gray: jax.Array, task: int) -> jax.Array:
    return jax.grad(lambda x: log_odds(network, params, x, task).sum())(gray)
