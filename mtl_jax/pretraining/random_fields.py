"""Class parameters, coordinates and random fields for the synthetic images."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import qmc


def sobol_points(count: int, *ranges: tuple[float, float]) -> np.ndarray:
    """Return parameters (count, len(ranges)) float32 of classes, evenly distributed over `ranges`.

    They are the first `count` points, a power of 2, of a Sobol sequence, and so constant.
    """
    low, high = np.array(ranges).T
    points = qmc.Sobol(len(ranges), scramble=False).random(count)
    return (low + points * (high - low)).astype(np.float32)


def pixel_grid(size: int) -> tuple[jax.Array, jax.Array]:
    """Return row and column (size, size) of each pixel, from -1 to 1 across the image."""
    line = (jnp.arange(size) + 0.5) * 2 / size - 1
    return jnp.meshgrid(line, line, indexing="ij")


def local_coordinates(
    size: int, angle: jax.Array, center: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return coordinates (n, size, size) rotated by `angle` (n,) about `center` (n, 2).

    Their unit is `scale` (n,) in pixels, so shapes have the same size in pixels in every image
    size.
    """
    row, column = pixel_grid(size)
    unit = scale[:, None, None] * 2 / size
    y = (row - center[:, 0, None, None]) / unit
    x = (column - center[:, 1, None, None]) / unit
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    return cos * y - sin * x, sin * y + cos * x


def make_noise(
    key: jax.Array,
    size: int,
    slope: jax.Array,
    corner: jax.Array,
    stretch: jax.Array,
    angle: jax.Array,
) -> jax.Array:
    """Return fields (n, size, size) of mean 0 and variance 1 with a power spectrum f^-slope.

    All parameters are (n,). `corner` is the frequency in cycles per 100 pixels below which the
    spectrum is flat, `stretch` the ratio of the correlation lengths along and across `angle`.
    """
    spectrum = jnp.fft.rfft2(jax.random.normal(key, (len(slope), size, size)))
    row, column = jnp.meshgrid(
        jnp.fft.fftfreq(size, 0.01), jnp.fft.rfftfreq(size, 0.01), indexing="ij"
    )
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    along, across = row * cos + column * sin, column * cos - row * sin
    root = jnp.sqrt(stretch)[:, None, None]
    square = (along * root) ** 2 + (across / root) ** 2
    gain = (corner[:, None, None] ** 2 + square) ** (-slope[:, None, None] / 4)
    return standardize(jnp.fft.irfft2(spectrum * gain, (size, size)))


def make_background(key: jax.Array, count: int, size: int) -> jax.Array:
    """Return backgrounds (n, size, size) independent of the class: noise with curved lines."""
    keys = jax.random.split(key, 8)
    image = make_noise(
        keys[0],
        size,
        jax.random.uniform(keys[1], (count,), minval=2.2, maxval=3.6),
        jnp.full(count, 1.0),
        jax.random.uniform(keys[2], (count,), minval=1.0, maxval=2.0),
        jax.random.uniform(keys[3], (count,), maxval=jnp.pi),
    )
    row, column = pixel_grid(size)
    for line_key in jax.random.split(keys[4], 3):
        uniform = jax.random.uniform(line_key, (6, count, 1, 1))
        angle = 2 * jnp.pi * uniform[0]
        across = row * jnp.sin(angle) + column * jnp.cos(angle) + 2 * uniform[1] - 1
        along = row * jnp.cos(angle) - column * jnp.sin(angle) + 2 * uniform[2] - 1
        distance = (across + (uniform[3] - 0.5) * along**2) * size / 2
        image += (1.5 * uniform[4]) * jnp.exp(-(distance**2) / 4 - (along / 0.7) ** 2)
    return image


def standardize(images: jax.Array) -> jax.Array:
    """Return each image (n, size, size) with mean 0 and variance 1."""
    images = images - images.mean((1, 2), keepdims=True)
    return images / (jnp.sqrt((images**2).mean((1, 2), keepdims=True)) + 1e-6)
