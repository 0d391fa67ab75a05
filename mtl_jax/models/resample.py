"""Resampling of ROIs to the input size of a backbone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def resample(x: jax.Array, size: int) -> jax.Array:
    """Return images (n, h, w, c) at (n, size, size, c), by bicubic interpolation.

    Computed in float32. Images that become smaller are smoothed first (antialiasing); images of
    this size are returned unchanged. The two matrix products work for a symbolic number of images.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (jnp.asarray(interpolation_matrix(n, size)) for n in x.shape[1:3])
    precision = jax.lax.Precision.HIGHEST
    return jnp.einsum(
        "Hh,nhwc,Ww->nHWc", rows, x.astype(jnp.float32), columns, precision=precision
    ).astype(x.dtype)


@functools.cache
def interpolation_matrix(size: int, new_size: int) -> np.ndarray:
    """Return the matrix (new_size, size) float32 of bicubic interpolation along one axis.

    The kernel is that of Keys 1981 (a = -0.5), as in Pillow.
    """
    with jax.ensure_compile_time_eval():
        return np.asarray(jax.image.resize(jnp.eye(size), (new_size, size), "cubic"))
