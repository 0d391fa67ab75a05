"""The eight orientations of an ROI: the dihedral group of the square."""

import jax
import jax.numpy as jnp

COUNT = 8


def orient(images: jax.Array, orientation: jax.Array) -> jax.Array:
    """Return each image of `images` (n, s, s) in its `orientation` (n,), 0 to 7.

    Orientation 0 is the image itself. Bit 0 reverses the rows, bit 1 the columns, and bit 2 then
    swaps rows and columns.
    """
    bit = [((orientation >> k) & 1).astype(bool)[:, None, None] for k in range(3)]
    images = jnp.where(bit[0], images[:, ::-1, :], images)
    images = jnp.where(bit[1], images[:, :, ::-1], images)
    return jnp.where(bit[2], images.transpose(0, 2, 1), images)
