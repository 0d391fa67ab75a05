"""What a training of the source task asks of its images, and the formula images as such a task."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from mtl_jax.pretraining import synthetic
from mtl_jax.weights.metadata import UNNORMALIZED_INPUT


class Examples(NamedTuple):
    """Images (n, size, size, channels) float32, about mean 0 and variance 1; label (n,) int32;
    weight (n,) float32, 0 for rows that only fill the batch."""

    image: jax.Array
    label: jax.Array
    weight: jax.Array


class Task(Protocol):
    """A classification; an epoch is `images` images in `steps` batches."""

    name: str
    classes: int
    channels: int
    images: int
    steps: int
    input_stats: dict[str, Any]  # what the network's input was, for the card of its weights

    def epoch(self, number: int, size: int) -> Iterator[Examples]:
        """Yield the batches of this epoch, a function of the seed and `number` alone."""

    def held_out(self, size: int) -> Iterator[Examples]:
        """Batches that are never learned, the same each time."""


class FormulaTask:
    """New formula images in every batch, drawn on the device."""

    name = "formula images (" + ", ".join(synthetic.FAMILIES) + "), no photograph"
    classes = synthetic.CLASSES
    channels = 1
    input_stats = UNNORMALIZED_INPUT

    def __init__(self, key: jax.Array, batch_size: int, epoch_images: int, held_out: int) -> None:
        self._learned, self._held_out = jax.random.split(key)
        self._batch_size = batch_size
        self.steps = -(-epoch_images // batch_size)
        self.images = self.steps * batch_size
        self._held_out_steps = -(-held_out // batch_size)

    def epoch(self, number: int, size: int) -> Iterator[Examples]:
        key = jax.random.fold_in(self._learned, number)
        return self._batches(key, self.steps, size)

    def held_out(self, size: int) -> Iterator[Examples]:
        return self._batches(self._held_out, self._held_out_steps, size)

    def _batches(self, key: jax.Array, steps: int, size: int) -> Iterator[Examples]:
        for step in range(steps):
            yield _drawn(jax.random.fold_in(key, step), self._batch_size, size)


@partial(jax.jit, static_argnums=(1, 2))
def _drawn(key: jax.Array, count: int, size: int) -> Examples:
    image, label = synthetic.draw(key, count, size)
    return Examples(image, label, jnp.ones(count))
