"""The interface of a pretraining task, and the task of classifying synthetic images."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from mtl_jax.pretraining import synthetic
from mtl_jax.weights.metadata import UNNORMALIZED_INPUT


class Examples(NamedTuple):
    """A batch: images of about mean 0 and variance 1, their classes and weights."""

    image: jax.Array  # (n, size, size, channels) float32
    label: jax.Array  # (n,) int32
    weight: jax.Array  # (n,) float32, 0 for rows that pad the batch


class Task(Protocol):
    """A classification task; an epoch has `images` images in `steps` batches."""

    name: str
    classes: int
    channels: int
    images: int
    steps: int
    input_stats: dict[str, Any]  # normalization of the input, for the metadata of the weights

    def train_batches(self, epoch: int, size: int) -> Iterator[Examples]:
        """Yield the batches of an epoch, which depend only on the seed and `epoch`."""

    def validation_batches(self, size: int) -> Iterator[Examples]:
        """Yield the batches of validation images, which are the same in every epoch."""


class SyntheticTask:
    """Classification of synthetic images; every batch has new images, rendered on the device."""

    channels = 1
    input_stats = UNNORMALIZED_INPUT

    def __init__(
        self,
        key: jax.Array,
        batch_size: int,
        images_per_epoch: int,
        validation_images: int,
        with_shapes: bool,
    ) -> None:
        families = synthetic.select_families(with_shapes)
        self.name = f"synthetic images ({', '.join(families)}), no photographs"
        self.classes = sum(family.classes for family in families.values())
        self._with_shapes = with_shapes
        self._train_key, self._validation_key = jax.random.split(key)
        self._batch_size = batch_size
        self.steps = -(-images_per_epoch // batch_size)
        self.images = self.steps * batch_size
        self._validation_steps = -(-validation_images // batch_size)

    def train_batches(self, epoch: int, size: int) -> Iterator[Examples]:
        key = jax.random.fold_in(self._train_key, epoch)
        return self._batches(key, self.steps, size)

    def validation_batches(self, size: int) -> Iterator[Examples]:
        return self._batches(self._validation_key, self._validation_steps, size)

    def _batches(self, key: jax.Array, steps: int, size: int) -> Iterator[Examples]:
        for step in range(steps):
            step_key = jax.random.fold_in(key, step)
            yield _make_batch(step_key, self._batch_size, size, self._with_shapes)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _make_batch(key: jax.Array, count: int, size: int, with_shapes: bool) -> Examples:
    image, label = synthetic.make_batch(key, count, size, with_shapes)
    return Examples(image, label, jnp.ones(count))
