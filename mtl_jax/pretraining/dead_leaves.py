"""Dead leaves images: overlapping shapes that cover the image (Lee et al. 2001).

The shape, sizes, aspect ratio and texture of the leaves are the class.
"""

import jax
import jax.numpy as jnp

from mtl_jax.pretraining.random_fields import local_coordinates, sobol_points

CLASSES = 32
LEAVES = 48
SHAPE, LOG_MAX_RADIUS, LOG_ASPECT, STRIPES = sobol_points(
    CLASSES, (0.0, 3.0), (2.0, 3.6), (0.0, 1.4), (0.0, 0.9)
).T


def render(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size) of the classes `label` (n,), as in Baradad et al. 2021."""
    shape, log_max_radius, log_aspect, stripes = (
        jnp.asarray(p)[label][:, None, None] for p in (SHAPE, LOG_MAX_RADIUS, LOG_ASPECT, STRIPES)
    )
    stretch = jnp.exp(log_aspect / 2)
    n = len(label)

    def add_leaf(i: int, image: jax.Array) -> jax.Array:
        uniform = jax.random.uniform(jax.random.fold_in(key, i), (6, n))
        center = 2.6 * uniform[:2].T - 1.3
        # Radii from 3 pixels to the maximum, with a density of about 1 / radius^2; the first
        # leaves, which later ones cover, are the largest.
        max_radius = jnp.exp(log_max_radius[:, 0, 0])
        radius = 3 / (1 - uniform[2] * (1 - 3 / max_radius))
        radius = jnp.where(i < 12, max_radius * 2.5, radius)
        y, x = local_coordinates(size, 2 * jnp.pi * uniform[3], center, radius)
        y, x = jnp.abs(y * stretch), x / stretch
        wave = jnp.sin(x * radius[:, None, None] * (0.5 + uniform[5])[:, None, None])
        x = jnp.abs(x)
        disk, square, diamond = x * x + y * y, jnp.maximum(x, y), x + y
        inside = jnp.where(shape < 1, disk, jnp.where(shape < 2, square, diamond)) < 1
        gray = (2 * uniform[4] - 1)[:, None, None]
        return jnp.where(inside, gray + stripes * wave, image)

    return jax.lax.fori_loop(0, LEAVES, add_leaf, jnp.zeros((n, size, size)))
