"""Training ROIs, on the device or on disk, and batches of them in an order fixed by a seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.data.array_rows import Rows, Table, chunks, join
from mtl_jax.training import devices, malloc, orientations
from mtl_jax.types import Batch

SHARE = 1 / 4  # of the device's memory: the most that ROIs in it take up
MANY = 2**19  # indices in an epoch, above which their memory counts beside a network's


class Dataset(NamedTuple):
    """ROIs of all tasks together: pixels (n, 128, 128) int16, label and task (n,) int32, and
    table (n,) int32: which mean and standard deviation (t,) float32 standardize its pixels.

    Those are of the training ROIs of its collection, and where several trainings share a pool,
    of each one's own. Pixels that are left on disk are `Rows`, and the columns beside them NumPy
    arrays."""

    pixels: jax.Array | Rows
    label: jax.Array | np.ndarray
    task: jax.Array | np.ndarray
    table: jax.Array | np.ndarray
    mean: jax.Array
    std: jax.Array


class Activations(NamedTuple):
    """What the frozen layers give for all ROIs in their eight orientations: maps (8n, h, w, c)
    float32, label and task (8n,) int32, in the order of indices. NumPy arrays on the host, and maps
    that are `Rows` on disk."""

    values: jax.Array | np.ndarray | Rows
    label: jax.Array | np.ndarray
    task: jax.Array | np.ndarray


BatchSource = Dataset | Activations


def pixel_statistics(pixels: Sequence[Table]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each task's training pixels, (t,) float32 each.

    One pair a collection, because each has its own digitizer or detector. A standard deviation of 0
    counts as 1. The sums are exact, so that neither the order of the ROIs nor where they are
    kept changes a bit.
    """
    found = [_mean_and_std(table) for table in pixels]
    return np.float32([mean for mean, _ in found]), np.float32([std for _, std in found])


def _mean_and_std(pixels: Table) -> tuple[float, float]:
    """By whole numbers: float64 holds the sums over a chunk, below 2^53, and Python the totals."""
    count = total = squares = 0
    for chunk in chunks(pixels):
        flat = chunk.ravel().astype(np.float64)
        count, total, squares = (
            count + flat.size,
            total + int(flat.sum()),
            squares + int(flat @ flat),
        )
    spread = math.sqrt((count * squares - total**2) / count**2)
    return total / count, spread or 1.0


def make_dataset(
    pixels: Sequence[Table],
    labels: Sequence[np.ndarray],
    mean: np.ndarray,
    std: np.ndarray,
    stream: str = "auto",
    tasks: Sequence[int] | None = None,
) -> Dataset:
    """Return one pool from tables of pixels (n_t, 128, 128) int16 and labels (n_t,), each of one
    of the `tasks` (None: a task each) and with its own mean and standard deviation.

    Pixels that would take up more than SHARE of the device's memory are left where they are, and
    so is everything where `stream` is 'always'; training.feed then brings each batch.
    """
    rows = join(pixels)
    label = np.concatenate(labels).astype(np.int32)
    table = np.repeat(np.arange(len(pixels), dtype=np.int32), [len(p) for p in pixels])
    task = table if tasks is None else np.asarray(tasks, np.int32)[table]
    if stream == "always" or rows.nbytes > SHARE * devices.memory()[0]:
        return Dataset(rows, label, task, table, jnp.asarray(mean), jnp.asarray(std))
    return Dataset(*jax.device_put((rows[:], label, task, table, mean, std)))


def steps_per_epoch(rois: int, batch_size: int) -> int:
    """Return every ROI in its eight orientations once; the last batch may be partly filled."""
    return -(-rois * orientations.COUNT // batch_size)


def epoch_order(key: jax.Array, rois: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return indices, int32, and weights, bool, (steps, batch_size) each, on the host: a random
    order of all (ROI, orientation).

    A pick is ROI * 8 + orientation. What only fills the last batch has weight False.
    """
    total = rois * orientations.COUNT
    size = (steps_per_epoch(rois, batch_size), batch_size)
    indices, weight = np.empty(size, np.int32), np.ones(size, bool)
    indices.ravel()[:total] = jax.random.permutation(key, total)
    rest = indices.size - total
    indices.ravel()[total:] = np.resize(indices.ravel()[: min(rest, total)], rest)
    weight.ravel()[total:] = False
    if total > MANY:
        malloc.trim()  # of what making the order, and all before it, took for a moment
    return indices, weight


def make_batch(source: BatchSource, indices: jax.Array, weight: jax.Array) -> Batch:
    """Return the batch of these indices. From a pool: turned, standardized, one channel of gray."""
    counts = weight.astype(jnp.float32)
    if isinstance(source, Activations):
        return Batch(source.values[indices], source.label[indices], source.task[indices], counts)
    roi, which = indices // orientations.COUNT, indices % orientations.COUNT
    table = source.table[roi]
    gray = orientations.orient(source.pixels[roi], which).astype(jnp.float32)
    gray = (gray - source.mean[table, None, None]) / source.std[table, None, None]
    return Batch(gray[..., None], source.label[roi], source.task[roi], counts)
