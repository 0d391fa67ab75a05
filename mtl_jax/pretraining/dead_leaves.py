"""Dead leaves: shapes that fall on each other until they cover the image (Lee et al. 2001).

Their form, sizes and inner texture are their class.
"""

import jax
import jax.numpy as jnp

from mtl_jax.pretraining.class_parameters import spread
from mtl_jax.pretraining.random_fields import turned

CLASSES = 32
FALLEN = 48
FORM, LARGEST, ASPECT, STRIPES = spread(CLASSES, (0.0, 3.0), (2.0, 3.6), (0.0, 1.4), (0.0, 0.9)).T


def render(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size) of the classes `label` (n,), as in Baradad et al. 2021."""
    form, largest, aspect, stripes = (
        jnp.asarray(p)[label][:, None, None] for p in (FORM, LARGEST, ASPECT, STRIPES)
    )
    stretch = jnp.exp(aspect / 2)
    n = len(label)

    def fall(i: int, image: jax.Array) -> jax.Array:
        draw = jax.random.uniform(jax.random.fold_in(key, i), (6, n))
        centre = 2.6 * draw[:2].T - 1.3
        # Sizes between 3 pixels and the largest, with a density of 1 / size^2 or so; the first
        # leaves, which later ones cover, are the largest.
        high = jnp.exp(largest[:, 0, 0])
        radius = 3 / (1 - draw[2] * (1 - 3 / high))
        radius = jnp.where(i < 12, high * 2.5, radius)
        y, x = turned(size, 2 * jnp.pi * draw[3], centre, radius)
        y, x = jnp.abs(y * stretch), x / stretch
        wave = jnp.sin(x * radius[:, None, None] * (0.5 + draw[5])[:, None, None])
        x = jnp.abs(x)
        disk, square, diamond = x * x + y * y, jnp.maximum(x, y), x + y
        inside = jnp.where(form < 1, disk, jnp.where(form < 2, square, diamond)) < 1
        gray = (2 * draw[4] - 1)[:, None, None]
        return jnp.where(inside, gray + stripes * wave, image)

    return jax.lax.fori_loop(0, FALLEN, fall, jnp.zeros((n, size, size)))
