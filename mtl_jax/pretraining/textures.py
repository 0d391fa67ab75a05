"""Texture images: noise whose spectrum, direction and folding are the class."""

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.pretraining.random_fields import make_noise, sobol_points

CLASSES = 64
SLOPE, CORNER, STRETCH, FOLD = sobol_points(
    CLASSES, (0.8, 4.5), (-0.5, 2.8), (0.0, 1.6), (0.0, 3.0)
).T
CORNER, STRETCH = np.exp(CORNER), np.exp(STRETCH)


def render(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size) of the classes `label` (n,).

    The spectra are as in Baradad et al. 2021 (arXiv:2106.05963). A third of the classes is folded
    into ridges and a third into valleys.
    """
    angle_key, noise_key = jax.random.split(key)
    angle = jax.random.uniform(angle_key, label.shape, maxval=jnp.pi)
    parameters = (jnp.asarray(p)[label] for p in (SLOPE, CORNER, STRETCH))
    image = make_noise(noise_key, size, *parameters, angle)
    fold = jnp.asarray(FOLD)[label][:, None, None]
    return jnp.where(fold < 1, image, jnp.where(fold < 2, -jnp.abs(image), jnp.abs(image)))
