"""Formula images: a classification without data, drawn on the device.

The idea is FractalDB's (Kataoka et al. 2020, arXiv:2101.08515) and that of learning from noise
(Baradad et al. 2021, arXiv:2106.05963): a class is a formula, an image one random case of it. No
image is ever seen twice.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mtl_jax.pretraining import dead_leaves, fractals, shapes, textures
from mtl_jax.pretraining.random_fields import standardize


class Family(NamedTuple):
    classes: int
    eighths: int  # of each batch, as many as make all classes equally frequent
    render: Callable[[jax.Array, jax.Array, int], jax.Array]


FAMILIES = {
    "fractals": Family(fractals.CLASSES, 1, fractals.render),
    "leaves": Family(dead_leaves.CLASSES, 1, dead_leaves.render),
    "textures": Family(textures.CLASSES, 2, textures.render),
    "outlines": Family(shapes.OUTLINE_CLASSES, 2, shapes.outlines),
    "rays": Family(shapes.RAY_CLASSES, 2, shapes.rays),
}
CLASSES = sum(family.classes for family in FAMILIES.values())


def draw(key: jax.Array, count: int, size: int) -> tuple[jax.Array, jax.Array]:
    """Return `count` images (n, size, size, 1) float32, near mean 0 and variance 1, and labels
    (n,).

    `count` is a multiple of 8. A function of `key` alone.
    """
    images, labels, first = [], [], 0
    for number, family in enumerate(FAMILIES.values()):
        which, own = jax.random.split(jax.random.fold_in(key, number))
        label = jax.random.randint(which, (count * family.eighths // 8,), 0, family.classes)
        images.append(standardize(family.render(own, label, size)))
        labels.append(first + label)
        first += family.classes
    images = exposed(jax.random.fold_in(key, len(FAMILIES)), jnp.concatenate(images))
    return images, jnp.concatenate(labels)


def exposed(key: jax.Array, images: jax.Array) -> jax.Array:
    """Standardized `images` (n, s, s) with noise, contrast and brightness of their own, a channel
    added: what classes must not depend on."""
    grain, draw = jax.random.split(key)
    amount = jax.random.uniform(draw, (3, len(images), 1, 1))
    images = images + 0.4 * amount[0] * jax.random.normal(grain, images.shape)
    images = standardize(images) * (0.6 + 0.8 * amount[1]) + (amount[2] - 0.5)
    return images[..., None]
