"""Fractals of iterated function systems, as in FractalDB (Kataoka et al. 2020)."""

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.precision import HIGHEST

CLASSES = 32
MAP_COUNTS = (2, 3, 4)
WALKERS, BURN_IN, STEPS = 384, 8, 20


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def make_systems(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return affine maps (count, 4, 2, 3) and their log probabilities (count, 4).

    The maps are drawn by their singular values. The sum of these is restricted so that attractors
    are neither scattered points nor filled areas (Anderson and Farrell 2022, arXiv:2110.03091,
    section 3.2). The seed is constant.
    """
    rng = np.random.default_rng(2020)
    maps = np.zeros((count, 4, 2, 3), np.float32)
    log_probabilities = np.full((count, 4), -np.inf, np.float32)
    for k in range(count):
        n_maps = MAP_COUNTS[k % len(MAP_COUNTS)]
        total = rng.uniform(0.5 * (5 + n_maps), 0.5 * (6 + n_maps))  # sum of s1 + 2 s2
        sums = np.minimum(rng.dirichlet(np.full(n_maps, 4.0)) * total, 2.8)
        for i in range(n_maps):
            s2 = rng.uniform(max(0.0, (sums[i] - 1) / 2), sums[i] / 3)
            singular_values = np.clip([sums[i] - 2 * s2, s2], 0, 0.95)
            left, right = rng.uniform(0, 2 * np.pi, 2)
            flip = np.diag(rng.choice([-1, 1], 2))
            maps[k, i, :, :2] = _rotation(left) @ np.diag(singular_values) @ _rotation(right) @ flip
            maps[k, i, :, 2] = rng.uniform(-1, 1, 2)
        area = np.abs(np.linalg.det(maps[k, :n_maps, :, :2])) + 0.02
        log_probabilities[k, :n_maps] = np.log(area / area.sum())
    return maps, log_probabilities


SYSTEMS, LOG_PROBABILITIES = make_systems(CLASSES)


def render(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size) of the classes `label` (n,), by the chaos game.

    The maps of each image differ slightly from those of its class. The attractor is rotated,
    scaled and shifted at random.
    """
    n = len(label)
    keys = jax.random.split(key, 5)
    maps = jnp.asarray(SYSTEMS)[label] * (
        1 + 0.06 * jax.random.normal(keys[0], (n, *SYSTEMS.shape[1:]))
    )
    choices = jax.random.categorical(
        keys[1], jnp.asarray(LOG_PROBABILITIES)[label], shape=(BURN_IN + STEPS, WALKERS, n)
    )
    start = jax.random.uniform(keys[2], (n, WALKERS, 2), minval=-1)

    def walk(position: jax.Array, choice: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen = jnp.take_along_axis(maps, choice.T[:, :, None, None], axis=1)
        moved = jnp.einsum("nwij,nwj->nwi", chosen[..., :2], position, precision=HIGHEST)
        position = moved + chosen[..., 2]
        return position, position

    _, path = jax.lax.scan(walk, start, choices)
    points = path[BURN_IN:].transpose(1, 0, 2, 3).reshape(n, -1, 2)
    points -= points.mean(1, keepdims=True)
    rms = jnp.sqrt((points**2).mean((1, 2), keepdims=True)) + 1e-6
    uniform = jax.random.uniform(keys[3], (4, n))
    zoom = (0.3 + 0.3 * uniform[0])[:, None, None]
    cos, sin = jnp.cos(2 * jnp.pi * uniform[1]), jnp.sin(2 * jnp.pi * uniform[1])
    rotation = jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2)
    points = jnp.einsum("nij,npj->npi", rotation, points * zoom / rms, precision=HIGHEST)
    points += 0.3 * (uniform[2:].T[:, None] - 0.5)
    pixel = jnp.floor((points + 1) * size / 2).astype(jnp.int32)
    image = jnp.zeros((n, size, size)).at[jnp.arange(n)[:, None], pixel[..., 0], pixel[..., 1]]
    # Points outside the image are dropped; negative indices would wrap around.
    outside = ((pixel < 0) | (pixel >= size)).any(-1)
    image = image.add(jnp.where(outside, 0.0, 1.0), mode="drop")
    return jnp.log1p(image) * jax.random.uniform(keys[4], (n, 1, 1), minval=1.0, maxval=3.0)
