"""Labelled pictures of any size as a source task: cut, mirrored and batched.

Augmented as in Krizhevsky et al. 2012, section 4.1: a random crop, mirrored half of the time; the
middle where nothing is learned.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mtl_jax.pretraining.task import Examples
from mtl_jax.weights.metadata import IMAGENET_INPUT

MARGIN = 8 / 7  # the shorter side before the crop, over the crop: 256 / 224
Pictures = Sequence[tuple[np.ndarray, int]]  # (height, width, 3) uint8, and its class


class PhotoTask:
    """Every picture of `learned` once an epoch, in an order of its own."""

    channels = 3
    input_stats = IMAGENET_INPUT

    def __init__(
        self,
        name: str,
        classes: int,
        learned: Pictures,
        held_out: Pictures,
        key: jax.Array,
        batch_size: int,
        workers: int,
    ) -> None:
        """`workers` threads read pictures; they change no result."""
        self.name, self.classes = name, classes
        self.images = len(learned)
        self.steps = -(-len(learned) // batch_size)
        self._learned, self._held_out = learned, held_out
        self._seed = jax.random.key_data(key).tolist()
        self._batch_size, self._workers = batch_size, workers

    def epoch(self, number: int, size: int) -> Iterator[Examples]:
        rng = np.random.default_rng([*self._seed, number])
        order = rng.permutation(len(self._learned))
        chances = rng.random((len(order), 3))
        return self._batches(self._learned, order, chances, size)

    def held_out(self, size: int) -> Iterator[Examples]:
        order = np.arange(len(self._held_out))
        middle = np.full((len(order), 3), 0.5)
        return self._batches(self._held_out, order, middle, size)

    def _batches(
        self, pictures: Pictures, order: np.ndarray, chances: np.ndarray, size: int
    ) -> Iterator[Examples]:
        def read(place: int) -> tuple[np.ndarray, int]:
            image, label = pictures[int(order[place])]
            return cut(image, size, *chances[place]), label

        with ThreadPoolExecutor(self._workers) as pool:
            ahead = None
            for first in range(0, len(order), self._batch_size):
                places = range(first, min(first + self._batch_size, len(order)))
                following = [pool.submit(read, place) for place in places]
                if ahead:
                    yield self._examples([job.result() for job in ahead])
                ahead = following
            yield self._examples([job.result() for job in ahead or []])

    def _examples(self, rows: list[tuple[np.ndarray, int]]) -> Examples:
        """Return a full batch: rows that the end of an epoch lacks repeat the first, with weight
        0."""
        missing = self._batch_size - len(rows)
        weight = np.float32([1] * len(rows) + [0] * missing)
        rows = rows + rows[:1] * missing
        pixels = np.stack([image for image, _ in rows])
        label = np.int32([label for _, label in rows])
        return Examples(_normalized(jnp.asarray(pixels)), jnp.asarray(label), jnp.asarray(weight))


def cut(image: np.ndarray, size: int, down: float, along: float, mirror: float) -> np.ndarray:
    """Return a square (size, size, 3) of `image` (h, w, 3), whose shorter side becomes size * 8 /
    7.

    `down` and `along` in [0, 1) place it; `mirror` above one half turns left and right over.
    """
    height, width = image.shape[:2]
    factor = round(size * MARGIN) / min(height, width)
    shape = max(size, round(width * factor)), max(size, round(height * factor))
    scaled = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR))
    top = int(down * (shape[1] - size + 1))
    left = int(along * (shape[0] - size + 1))
    scaled = scaled[top : top + size, left : left + size]
    return scaled[:, ::-1] if mirror > 0.5 else scaled


@jax.jit
def _normalized(pixels: jax.Array) -> jax.Array:
    mean, std = jnp.array(IMAGENET_INPUT["mean"]), jnp.array(IMAGENET_INPUT["std"])
    return (pixels.astype(jnp.float32) / 255 - mean) / std
