"""The eight flips and turns of an ROI: the dihedral group of the square."""

import jax
import jax.numpy as jnp

COUNT = 8


def orient(images: jax.Array, which: jax.Array) -> jax.Array:
    """Image i of `images` (n, s, s) in orientation `which[i]` in 0..7; 0 is the image itself.

    Bit 0 turns the rows over, bit 1 the columns, and bit 2 then swaps rows and columns.
    """
    bit = [((which >> k) & 1).astype(bool)[:, None, None] for k in range(3)]
    images = jnp.where(bit[0], images[:, ::-1, :], images)
    images = jnp.where(bit[1], images[:, :, ::-1], images)
    return jnp.where(bit[2], images.transpose(0, 2, 1), images)
