"""Training regions, and the batches drawn from them in an order fixed by a seed."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.nouns import Batch
from mtl_jax.training import orientations


class Pool(NamedTuple):
    """Regions of all tasks together: pixels (n, 128, 128) int16, label and task (n,) int32, and
    for each task (t,) float32 the mean and standard deviation that standardize its pixels."""

    pixels: jax.Array
    label: jax.Array
    task: jax.Array
    mean: jax.Array
    std: jax.Array


class Maps(NamedTuple):
    """What the frozen layers give for all regions in their eight orientations: maps (8n, h, w, c)
    float32, label and task (8n,) int32, in the order of picks."""

    maps: jax.Array
    label: jax.Array
    task: jax.Array


Source = Pool | Maps


def statistics(pixels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each task's training pixels, (t,) float32 each.

    One pair a collection, because each has its own digitizer or detector. A standard deviation of 0
    counts as 1.
    """
    mean = [float(p.mean(dtype=np.float64)) for p in pixels]
    std = [float(p.std(dtype=np.float64)) or 1.0 for p in pixels]
    return np.float32(mean), np.float32(std)


def make_pool(
    pixels: Sequence[np.ndarray], labels: Sequence[np.ndarray], mean: np.ndarray, std: np.ndarray
) -> Pool:
    """One pool from each task's pixels (n_t, 128, 128) int16 and labels (n_t,)."""
    task = np.repeat(np.arange(len(pixels)), [len(p) for p in pixels])
    return Pool(
        jnp.asarray(np.concatenate(pixels)),
        jnp.asarray(np.concatenate(labels), jnp.int32),
        jnp.asarray(task, jnp.int32),
        jnp.asarray(mean),
        jnp.asarray(std),
    )


def steps_per_epoch(regions: int, batch_size: int) -> int:
    """Every region in its eight orientations once; the last batch may be partly filled."""
    return -(-regions * orientations.COUNT // batch_size)


def epoch_order(key: jax.Array, regions: int, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Picks and weights, (steps, batch_size) each: a random order of all (region, orientation).

    A pick is region * 8 + orientation. Rows that only fill the last batch have weight 0.
    """
    total = regions * orientations.COUNT
    steps = steps_per_epoch(regions, batch_size)
    order = jax.random.permutation(key, total)
    filled = jnp.resize(order, steps * batch_size)
    weight = (jnp.arange(steps * batch_size) < total).astype(jnp.float32)
    return filled.reshape(steps, batch_size), weight.reshape(steps, batch_size)


def draw(source: Source, picks: jax.Array, weight: jax.Array) -> Batch:
    """The batch of these picks. From a pool: turned, standardized by task, one channel of gray."""
    if isinstance(source, Maps):
        return Batch(source.maps[picks], source.label[picks], source.task[picks], weight)
    region, which = picks // orientations.COUNT, picks % orientations.COUNT
    task = source.task[region]
    gray = orientations.orient(source.pixels[region], which).astype(jnp.float32)
    gray = (gray - source.mean[task, None, None]) / source.std[task, None, None]
    return Batch(gray[..., None], source.label[region], task, weight)
