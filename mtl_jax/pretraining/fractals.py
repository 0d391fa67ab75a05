"""Fractals of iterated function systems, as in FractalDB (Kataoka et al. 2020); no noise."""

import jax
import jax.numpy as jnp
import numpy as np

CLASSES = 32
MAPS = (2, 3, 4)
WALKERS, BURN_IN, STEPS = 384, 8, 20


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def systems(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Affine maps (count, 4, 2, 3) and the logarithms of their probabilities (count, 4).

    Drawn by their singular values, whose sum is held where attractors are neither dust nor blobs
    (Anderson & Farrell 2022, arXiv:2110.03091, section 3.2). The same in every training.
    """
    rng = np.random.default_rng(2020)
    maps, chances = np.zeros((count, 4, 2, 3), np.float32), np.full((count, 4), -np.inf, np.float32)
    for k in range(count):
        number = MAPS[k % len(MAPS)]
        total = rng.uniform(0.5 * (5 + number), 0.5 * (6 + number))  # of s1 + 2 s2 over the maps
        share = np.minimum(rng.dirichlet(np.full(number, 4.0)) * total, 2.8)
        for i in range(number):
            small = rng.uniform(max(0.0, (share[i] - 1) / 2), share[i] / 3)
            values = np.clip([share[i] - 2 * small, small], 0, 0.95)
            turn, spin = rng.uniform(0, 2 * np.pi, 2)
            flip = np.diag(rng.choice([-1, 1], 2))
            maps[k, i, :, :2] = _turn(turn) @ np.diag(values) @ _turn(spin) @ flip
            maps[k, i, :, 2] = rng.uniform(-1, 1, 2)
        area = np.abs(np.linalg.det(maps[k, :number, :, :2])) + 0.02
        chances[k, :number] = np.log(area / area.sum())
    return maps, chances


SYSTEMS, CHANCES = systems(CLASSES)


def render(key: jax.Array, label: jax.Array, size: int) -> jax.Array:
    """Return images (n, size, size) of the classes `label` (n,), by the chaos game of many walkers.

    Each image's maps differ a little from those of its class, and it is turned and scaled.
    """
    n = len(label)
    keys = jax.random.split(key, 5)
    maps = jnp.asarray(SYSTEMS)[label] * (
        1 + 0.06 * jax.random.normal(keys[0], (n, *SYSTEMS.shape[1:]))
    )
    choice = jax.random.categorical(
        keys[1], jnp.asarray(CHANCES)[label], shape=(BURN_IN + STEPS, WALKERS, n)
    )
    start = jax.random.uniform(keys[2], (n, WALKERS, 2), minval=-1)

    def walk(at: jax.Array, pick: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen = jnp.take_along_axis(maps, pick.T[:, :, None, None], axis=1)
        at = jnp.einsum("nwij,nwj->nwi", chosen[..., :2], at) + chosen[..., 2]
        return at, at

    _, path = jax.lax.scan(walk, start, choice)
    points = path[BURN_IN:].transpose(1, 0, 2, 3).reshape(n, -1, 2)
    points -= points.mean(1, keepdims=True)
    spread = jnp.sqrt((points**2).mean((1, 2), keepdims=True)) + 1e-6
    draw = jax.random.uniform(keys[3], (4, n))
    zoom = (0.3 + 0.3 * draw[0])[:, None, None]
    cos, sin = jnp.cos(2 * jnp.pi * draw[1]), jnp.sin(2 * jnp.pi * draw[1])
    turn = jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2)
    points = jnp.einsum("nij,npj->npi", turn, points * zoom / spread)
    points += 0.3 * (draw[2:].T[:, None] - 0.5)
    pixel = jnp.floor((points + 1) * size / 2).astype(jnp.int32)
    image = jnp.zeros((n, size, size)).at[jnp.arange(n)[:, None], pixel[..., 0], pixel[..., 1]]
    # Points outside, negative ones included, fall away.
    outside = ((pixel < 0) | (pixel >= size)).any(-1)
    image = image.add(jnp.where(outside, 0.0, 1.0), mode="drop")
    return jnp.log1p(image) * jax.random.uniform(keys[4], (n, 1, 1), minval=1.0, maxval=3.0)
