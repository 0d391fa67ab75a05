"""A pretraining task of labeled photographs of any size: crop, flip and batch them.

Augmentation as in Krizhevsky et al. 2012, section 4.1: a random crop, flipped with probability 0.5;
the center crop for validation.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from mtl_jax.pretraining.task import Examples
from mtl_jax.weights.metadata import IMAGENET_INPUT

RESIZE_RATIO = 8 / 7  # shorter side of the resized image over the crop: 256 / 224
LabeledImages = Sequence[tuple[np.ndarray, int]]  # (height, width, 3) uint8, and the class


class PhotographTask:
    """Classification of photographs; an epoch has every training image once, in random order."""

    channels = 3
    input_stats = IMAGENET_INPUT

    def __init__(
        self,
        name: str,
        classes: int,
        train: LabeledImages,
        validation: LabeledImages,
        key: jax.Array,
        batch_size: int,
        workers: int,
    ) -> None:
        """Set up the task; `workers` is the number of reader threads and changes no result."""
        self.name, self.classes = name, classes
        self.images = len(train)
        self.steps = -(-len(train) // batch_size)
        self._train, self._validation = train, validation
        self._seed = jax.random.key_data(key).tolist()
        self._batch_size, self._workers = batch_size, workers

    def train_batches(self, epoch: int, size: int) -> Iterator[Examples]:
        rng = np.random.default_rng([*self._seed, epoch])
        order = rng.permutation(len(self._train))
        crops = rng.random((len(order), 3))
        return self._batches(self._train, order, crops, size)

    def validation_batches(self, size: int) -> Iterator[Examples]:
        order = np.arange(len(self._validation))
        center_crops = np.full((len(order), 3), 0.5)
        return self._batches(self._validation, order, center_crops, size)

    def _batches(
        self, images: LabeledImages, order: np.ndarray, crops: np.ndarray, size: int
    ) -> Iterator[Examples]:
        """Yield batches; the images of the next batch are read while one is used."""

        def read(position: int) -> tuple[np.ndarray, int]:
            image, label = images[int(order[position])]
            return crop(image, size, *crops[position]), label

        with ThreadPoolExecutor(self._workers) as executor:
            pending = None
            for first in range(0, len(order), self._batch_size):
                positions = range(first, min(first + self._batch_size, len(order)))
                submitted = [executor.submit(read, position) for position in positions]
                if pending:
                    yield self._make_batch([future.result() for future in pending])
                pending = submitted
            yield self._make_batch([future.result() for future in pending or []])

    def _make_batch(self, rows: list[tuple[np.ndarray, int]]) -> Examples:
        """Return a full batch; the last one of an epoch is padded with its first row, weight 0."""
        n_padding = self._batch_size - len(rows)
        weight = np.float32([1] * len(rows) + [0] * n_padding)
        rows = rows + rows[:1] * n_padding
        pixels = np.stack([image for image, _ in rows])
        label = np.int32([label for _, label in rows])
        return Examples(_normalize(jnp.asarray(pixels)), jnp.asarray(label), jnp.asarray(weight))


def crop(image: np.ndarray, size: int, top: float, left: float, flip: float) -> np.ndarray:
    """Return a square (size, size, 3) of `image` (h, w, 3) resized to a shorter side of size * 8/7.

    `top` and `left` are in [0, 1); above 0.5, `flip` mirrors left and right.
    """
    height, width = image.shape[:2]
    factor = round(size * RESIZE_RATIO) / min(height, width)
    shape = max(size, round(width * factor)), max(size, round(height * factor))
    resized = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR))
    row = int(top * (shape[1] - size + 1))
    column = int(left * (shape[0] - size + 1))
    square = resized[row : row + size, column : column + size]
    return square[:, ::-1] if flip > 0.5 else square


@jax.jit
def _normalize(pixels: jax.Array) -> jax.Array:
    mean, std = jnp.array(IMAGENET_INPUT["mean"]), jnp.array(IMAGENET_INPUT["std"])
    return (pixels.astype(jnp.float32) / 255 - mean) / std
