"""Random fields and coordinates that the families of formula images are drawn with."""

import jax
import jax.numpy as jnp


def grid(size: int) -> tuple[jax.Array, jax.Array]:
    """Return row and column (size, size) of each pixel, from -1 to 1 across the image."""
    line = (jnp.arange(size) + 0.5) * 2 / size - 1
    return jnp.meshgrid(line, line, indexing="ij")


def turned(
    size: int, angle: jax.Array, centre: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Coordinates (n, size, size) turned by `angle` (n,) about `centre` (n, 2), over `scale` (n,).

    `scale` is the length in pixels that becomes 1, so that shapes are as large in large images.
    """
    row, column = grid(size)
    unit = scale[:, None, None] * 2 / size
    y = (row - centre[:, 0, None, None]) / unit
    x = (column - centre[:, 1, None, None]) / unit
    cos, sin = jnp.cos(angle)[:, None, None], jnp.sin(angle)[:, None, None]
    return cos * y - sin * x, sin * y + cos * x


def noise(
    key: jax.Array,
    size: int,
    slope: jax.Array,
    corner: jax.Array,
    stretch: jax.Array,
    angle: jax.Array,
) -> jax.Array:
    """Fields (n, size, size) of mean 0 and variance 1 with a power spectrum that falls as f^-slope.

    Flat below `corner` cycles in 100 pixels; `stretch` times longer along `angle` than across.
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


def background(key: jax.Array, count: int, size: int) -> jax.Array:
    """Return what lies behind a shape: cloudy noise with a few curved lines, of no class."""
    keys = jax.random.split(key, 8)
    cloud = noise(
        keys[0],
        size,
        jax.random.uniform(keys[1], (count,), minval=2.2, maxval=3.6),
        jnp.full(count, 1.0),
        jax.random.uniform(keys[2], (count,), minval=1.0, maxval=2.0),
        jax.random.uniform(keys[3], (count,), maxval=jnp.pi),
    )
    row, column = grid(size)
    for line in jax.random.split(keys[4], 3):
        draw = jax.random.uniform(line, (6, count, 1, 1))
        angle = 2 * jnp.pi * draw[0]
        across = row * jnp.sin(angle) + column * jnp.cos(angle) + 2 * draw[1] - 1
        along = row * jnp.cos(angle) - column * jnp.sin(angle) + 2 * draw[2] - 1
        distance = (across + (draw[3] - 0.5) * along**2) * size / 2
        cloud += (1.5 * draw[4]) * jnp.exp(-(distance**2) / 4 - (along / 0.7) ** 2)
    return cloud


def standardize(images: jax.Array) -> jax.Array:
    """Return each image (n, size, size) with mean 0 and variance 1."""
    images = images - images.mean((1, 2), keepdims=True)
    return images / (jnp.sqrt((images**2).mean((1, 2), keepdims=True)) + 1e-6)
