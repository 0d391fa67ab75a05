"""Synthetic (formula-driven) images, rendered on the device, for pretraining without data.

Each class is a formula and each image a random example of it, as in FractalDB (Kataoka et al. 2020,
arXiv:2101.08515) and in learning from noise (Baradad et al. 2021, arXiv:2106.05963). No image is
used twice.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mtl_jax.pretraining import dead_leaves, fractals, shapes, textures
from mtl_jax.pretraining.random_fields import standardize


class Family(NamedTuple):
    """A group of classes that one function renders."""

    classes: int
    weight: int  # share of a batch, so that all classes are equally frequent
    render: Callable[[jax.Array, jax.Array, int], jax.Array]


FAMILIES = {
    "fractals": Family(fractals.CLASSES, 1, fractals.render),
    "leaves": Family(dead_leaves.CLASSES, 1, dead_leaves.render),
    "textures": Family(textures.CLASSES, 2, textures.render),
    "outlines": Family(shapes.OUTLINE_CLASSES, 2, shapes.render_outlines),
    "rays": Family(shapes.RAY_CLASSES, 2, shapes.render_rays),
}
SHAPES = ("outlines", "rays")  # whose lobes and rays the masses of the phantom have, too


def select_families(with_shapes: bool) -> dict[str, Family]:
    """Return the families of classes, with or without those of shapes."""
    return {name: f for name, f in FAMILIES.items() if with_shapes or name not in SHAPES}


def make_batch(
    key: jax.Array, count: int, size: int, with_shapes: bool
) -> tuple[jax.Array, jax.Array]:
    """Return `count` images (n, size, size, 1) of about mean 0 and variance 1, and labels (n,).

    `count` is a multiple of 8. The batch is a function of `key` and `with_shapes` alone.
    """
    families = select_families(with_shapes)
    total = sum(family.weight for family in families.values())
    images, labels, first_class = [], [], 0
    for number, family in enumerate(families.values()):
        label_key, image_key = jax.random.split(jax.random.fold_in(key, number))
        n = count * family.weight // total
        label = jax.random.randint(label_key, (n,), 0, family.classes)
        images.append(standardize(family.render(image_key, label, size)))
        labels.append(first_class + label)
        first_class += family.classes
    images = augment(jax.random.fold_in(key, len(FAMILIES)), jnp.concatenate(images))
    return images, jnp.concatenate(labels)


def augment(key: jax.Array, images: jax.Array) -> jax.Array:
    """Return standardized `images` (n, s, s) as (n, s, s, 1), with random noise and gray levels."""
    noise_key, amount_key = jax.random.split(key)
    amount = jax.random.uniform(amount_key, (3, len(images), 1, 1))
    images = images + 0.4 * amount[0] * jax.random.normal(noise_key, images.shape)
    images = standardize(images) * (0.6 + 0.8 * amount[1]) + (amount[2] - 0.5)
    return images[..., None]
