"""Shape images: a body with lobes, a soft or sharp rim, and rays, before noise and stray lines."""

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.pretraining.class_parameters import spread
from mtl_jax.pretraining.random_fields import background, turned

OUTLINE_CLASSES = 64
ORDER, LOBES, SOFT, ASPECT = spread(
    OUTLINE_CLASSES, (2.0, 9.99), (0.02, 0.35), (-2.5, -0.3), (1.0, 2.0)
).T
RAY_CLASSES = 64
MAX_RAYS = 20
COUNT, LENGTH, WIDTH, CURL = spread(RAY_CLASSES, (0.7, 3.0), (0.4, 1.8), (-0.2, 0.8), (0.0, 0.6)).T
COUNT = np.round(np.exp(COUNT))  # 2 to 20


def outlines(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size): bodies that differ by lobes, their number, rim and aspect."""
    place, waves, behind = jax.random.split(key, 3)
    count = len(label)
    order, lobes, soft, aspect = (
        jnp.asarray(p)[label][:, None, None] for p in (ORDER, LOBES, SOFT, ASPECT)
    )
    radius = _radii(place, count, 10.0, 32.0)
    y, x = _placed(place, radius, size)
    y, x = y * jnp.sqrt(aspect), x / jnp.sqrt(aspect)
    angle = jnp.arctan2(y, x)
    phase = jax.random.uniform(waves, (2, count, 1, 1), maxval=2 * jnp.pi)
    wave = jnp.cos(jnp.floor(order) * angle + phase[0]) + 0.4 * jnp.cos(3 * angle + phase[1])
    body = _body(jnp.exp(lobes * wave) - jnp.hypot(y, x), jnp.exp(soft))
    return _contrast(place, count) * body + background(behind, count, size)


def rays(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size): bodies that differ by number, length, width and bend of
    rays."""
    place, own, behind = jax.random.split(key, 3)
    n = len(label)
    count, length, width, curl = (
        jnp.asarray(p)[label][:, None, None, None] for p in (COUNT, LENGTH, WIDTH, CURL)
    )
    radius = _radii(place, n, 8.0, 26.0)
    y, x = _placed(place, radius, size)
    distance = jnp.hypot(y, x)
    draw = jax.random.uniform(own, (4, n, 1, 1, MAX_RAYS))
    body = _body(1 - distance, 0.08 + 0.4 * draw[0, ..., 0])

    number = jnp.arange(MAX_RAYS)
    at = 2 * jnp.pi * (number + 0.7 * draw[1]) / count
    bend = curl * (2 * draw[2] - 1)
    there = (number < count) * (0.4 + 0.6 * draw[3])
    distance, angle = distance[..., None], jnp.arctan2(y, x)[..., None]
    # From 0.6 radii outward, fading to nothing at the end.
    reach = jnp.sqrt(jnp.clip((0.9 + length - distance) / length, 0, 1)) * (distance > 0.6)
    aside = angle - at - bend * (distance - 0.6)
    aside -= 2 * jnp.pi * jnp.round(aside / (2 * jnp.pi))
    aside *= distance * radius[:, None, None, None] / jnp.exp(width)
    # A bell without the cost of an exponential.
    lines = (there * reach / (1 + aside**2 / 4) ** 2).max(-1)
    return _contrast(place, n) * jnp.maximum(body, lines) + background(behind, n, size)


def _radii(key: jax.Array, count: int, least: float, most: float) -> jax.Array:
    """Radii (n,) in pixels of the bodies."""
    draw = jax.random.uniform(jax.random.fold_in(key, 0), (count,))
    return least * (most / least) ** draw


def _placed(key: jax.Array, radius: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Coordinates (n, size, size) about a body near the middle, its radius as unit."""
    draw = jax.random.uniform(jax.random.fold_in(key, 1), (3, len(radius)))
    centre = 0.5 * (draw[:2].T - 0.5)
    return turned(size, 2 * jnp.pi * draw[2], centre, radius)


def _contrast(key: jax.Array, count: int) -> jax.Array:
    """Return how much brighter (n, 1, 1) the body is, in standard deviations of what lies
    behind."""
    return jax.random.uniform(jax.random.fold_in(key, 2), (count, 1, 1), minval=2.0, maxval=7.0)


def _body(inside: jax.Array, soft: jax.Array) -> jax.Array:
    """1 deep inside, 0 outside, over a rim of width `soft`; a little brighter in the middle."""
    return jax.nn.sigmoid(4 * inside / soft) * (0.75 + 0.25 * jnp.clip(inside, 0, 1))
