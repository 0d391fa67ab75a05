"""Shape images: a body with lobes or with rays, before noise and random lines."""

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.pretraining.random_fields import local_coordinates, make_background, sobol_points

OUTLINE_CLASSES = 64
ORDER, LOBES, LOG_SOFTNESS, ASPECT = sobol_points(
    OUTLINE_CLASSES, (2.0, 9.99), (0.02, 0.35), (-2.5, -0.3), (1.0, 2.0)
).T
RAY_CLASSES = 64
MAX_RAYS = 20
COUNT, LENGTH, LOG_WIDTH, CURVATURE = sobol_points(
    RAY_CLASSES, (0.7, 3.0), (0.4, 1.8), (-0.2, 0.8), (0.0, 0.6)
).T
COUNT = np.round(np.exp(COUNT))  # 2 to 20


def render_outlines(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size) of bodies; lobes, rim and aspect ratio are the class."""
    body_key, phase_key, background_key = jax.random.split(key, 3)
    n = len(label)
    order, lobes, log_softness, aspect = (
        jnp.asarray(p)[label][:, None, None] for p in (ORDER, LOBES, LOG_SOFTNESS, ASPECT)
    )
    radius = _random_radii(body_key, n, 10.0, 32.0)
    y, x = _body_coordinates(body_key, radius, size)
    y, x = y * jnp.sqrt(aspect), x / jnp.sqrt(aspect)
    angle = jnp.arctan2(y, x)
    phase = jax.random.uniform(phase_key, (2, n, 1, 1), maxval=2 * jnp.pi)
    wave = jnp.cos(jnp.floor(order) * angle + phase[0]) + 0.4 * jnp.cos(3 * angle + phase[1])
    body = _render_body(jnp.exp(lobes * wave) - jnp.hypot(y, x), jnp.exp(log_softness))
    return _random_contrast(body_key, n) * body + make_background(background_key, n, size)


def render_rays(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size) of bodies with rays, whose number and form are the class."""
    body_key, ray_key, background_key = jax.random.split(key, 3)
    n = len(label)
    count, length, log_width, curvature = (
        jnp.asarray(p)[label][:, None, None, None] for p in (COUNT, LENGTH, LOG_WIDTH, CURVATURE)
    )
    radius = _random_radii(body_key, n, 8.0, 26.0)
    y, x = _body_coordinates(body_key, radius, size)
    distance = jnp.hypot(y, x)
    uniform = jax.random.uniform(ray_key, (4, n, 1, 1, MAX_RAYS))
    body = _render_body(1 - distance, 0.08 + 0.4 * uniform[0, ..., 0])

    ray = jnp.arange(MAX_RAYS)
    ray_angle = 2 * jnp.pi * (ray + 0.7 * uniform[1]) / count
    bend = curvature * (2 * uniform[2] - 1)
    strength = (ray < count) * (0.4 + 0.6 * uniform[3])
    distance, angle = distance[..., None], jnp.arctan2(y, x)[..., None]
    # A ray starts at 0.6 radii and fades to zero at its end.
    fading = jnp.sqrt(jnp.clip((0.9 + length - distance) / length, 0, 1)) * (distance > 0.6)
    offset = angle - ray_angle - bend * (distance - 0.6)
    offset -= 2 * jnp.pi * jnp.round(offset / (2 * jnp.pi))
    offset *= distance * radius[:, None, None, None] / jnp.exp(log_width)
    # A bell-shaped profile that is cheaper than an exponential.
    rays = (strength * fading / (1 + offset**2 / 4) ** 2).max(-1)
    background = make_background(background_key, n, size)
    return _random_contrast(body_key, n) * jnp.maximum(body, rays) + background


def _random_radii(key: jax.Array, count: int, minimum: float, maximum: float) -> jax.Array:
    """Return the radii (n,) of the bodies in pixels."""
    uniform = jax.random.uniform(jax.random.fold_in(key, 0), (count,))
    return minimum * (maximum / minimum) ** uniform


def _body_coordinates(key: jax.Array, radius: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Return coordinates (n, size, size) about a body near the center, in units of its radius."""
    uniform = jax.random.uniform(jax.random.fold_in(key, 1), (3, len(radius)))
    center = 0.5 * (uniform[:2].T - 0.5)
    return local_coordinates(size, 2 * jnp.pi * uniform[2], center, radius)


def _random_contrast(key: jax.Array, count: int) -> jax.Array:
    """Return the contrast (n, 1, 1) of the body in standard deviations of the background."""
    return jax.random.uniform(jax.random.fold_in(key, 2), (count, 1, 1), minval=2.0, maxval=7.0)


def _render_body(inside: jax.Array, softness: jax.Array) -> jax.Array:
    """Return 1 inside and 0 outside, with a rim of width `softness` and a brighter center."""
    return jax.nn.sigmoid(4 * inside / softness) * (0.75 + 0.25 * jnp.clip(inside, 0, 1))
