"""Training ROIs, on the device or on disk, and batches of them in an order given by a seed."""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.data.array_rows import ArrayOrRows, Rows, concatenate, iter_chunks
from mtl_jax.training import memory, orientations
from mtl_jax.types import Batch


class Dataset(NamedTuple):
    """ROIs of all tasks; pixels that stay on disk are `Rows`, and their columns NumPy arrays.

    `pixels` (n, 128, 128) int16, `label` and `task` (n,) int32. `table` (n,) int32 is the entry of
    `mean` and `std` (t,) float32 that standardizes the ROI: the statistics of the training ROIs of
    its collection, of each run where several share a dataset. `digest` (32,) uint8 is the SHA-256
    of what determines `pixels` and `table`, so that the frozen-feature cache need not read them.
    `count` () int32 is the number of ROIs; on a device, empty rows follow them (`padded_count`).
    """

    pixels: jax.Array | Rows
    label: jax.Array | np.ndarray
    task: jax.Array | np.ndarray
    table: jax.Array | np.ndarray
    mean: jax.Array
    std: jax.Array
    digest: np.ndarray
    count: np.int32


class Activations(NamedTuple):
    """Activations of the last frozen layer for all ROIs in their eight orientations, by index."""

    values: jax.Array | np.ndarray | Rows  # (8n, h, w, c) float32
    label: jax.Array | np.ndarray  # (8n,) int32
    task: jax.Array | np.ndarray  # (8n,) int32


BatchSource = Dataset | Activations


def pixel_statistics(pixels: Sequence[ArrayOrRows]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each collection's training pixels, (t,) float32.

    A standard deviation of 0 is replaced by 1. The sums are exact, so the result does not depend on
    the order of the ROIs or on where they are stored.
    """
    mean, std = zip(*map(_mean_and_std, pixels), strict=True)
    return np.float32(mean), np.float32(std)


def _mean_and_std(pixels: ArrayOrRows) -> tuple[float, float]:
    """Sum integers: float64 holds the sums of a chunk, which are below 2^53, and int the totals."""
    count = total = squares = 0
    for chunk in iter_chunks(pixels):
        flat = chunk.ravel().astype(np.float64)
        count += flat.size
        total += int(flat.sum())
        squares += int(flat @ flat)
    std = math.sqrt((count * squares - total**2) / count**2)
    return total / count, std or 1.0


def make_dataset(
    pixels: Sequence[ArrayOrRows],
    labels: Sequence[np.ndarray],
    mean: np.ndarray,
    std: np.ndarray,
    stream: str = "auto",
    tasks: Sequence[int] | None = None,
    origin: str | None = None,
) -> Dataset:
    """Return one dataset of several tables of ROIs (n_t, 128, 128) int16 with their labels (n_t,).

    `mean` and `std` (t,) standardize the tables, and `tasks` are their tasks; None: each table is a
    task of its own. `stream` 'always' leaves all pixels where they are; 'auto' does so if they need
    more than their share of the device's memory. `prefetch` then loads each batch. `origin`
    identifies the pixels of all tables; None: their content does.
    """
    rows = concatenate(pixels)
    label = np.concatenate(labels).astype(np.int32)
    table = np.repeat(np.arange(len(pixels), dtype=np.int32), [len(p) for p in pixels])
    task = table if tasks is None else np.asarray(tasks, np.int32)[table]
    digest = hashlib.sha256((origin or _content(rows)).encode())
    digest.update(table.tobytes())
    digest_bytes = np.frombuffer(digest.digest(), np.uint8)
    if stream == "always" or rows.nbytes > memory.ROIS * memory.device_bytes():
        statistics = jnp.asarray(mean), jnp.asarray(std)
        return Dataset(rows, label, task, table, *statistics, digest_bytes, np.int32(len(rows)))
    padded = [_pad(column) for column in (rows[:], label, task, table)]
    arrays = jax.device_put((*padded, mean, std))
    return Dataset(*arrays, digest_bytes, np.int32(len(rows)))


def padded_count(count: int) -> int:
    """Return the rows of an array on a device that has `count` ROIs, at most an eighth more.

    The training sets of the folds of a study differ by some ROIs, and a compiled program is of one
    shape.
    """
    multiple = max(1, 2 ** (count.bit_length() - 4))
    return -(-count // multiple) * multiple


def _pad(rows: np.ndarray) -> np.ndarray:
    padding = padded_count(len(rows)) - len(rows)
    return np.pad(rows, ((0, padding), *[(0, 0)] * (rows.ndim - 1))) if padding else rows


def _content(rows: Rows) -> str:
    digest = hashlib.sha256(repr((rows.shape, str(rows.dtype))).encode())
    for chunk in iter_chunks(rows):
        digest.update(np.ascontiguousarray(chunk).data)
    return digest.hexdigest()


def steps_per_epoch(rois: int, batch_size: int) -> int:
    """Return the number of batches, the last partly filled, of all ROIs in eight orientations."""
    return -(-rois * orientations.COUNT // batch_size)


def epoch_order(seed: Sequence[int], rois: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a random order of all (ROI, orientation) pairs: indices int32, and weights bool.

    Both are (steps, batch_size), on the host. An index is ROI * 8 + orientation. Rows that fill up
    the last batch have weight False. Drawn by NumPy: the device may be computing the epoch before.
    """
    total = rois * orientations.COUNT
    size = (steps_per_epoch(rois, batch_size), batch_size)
    order = np.arange(total, dtype=np.int32)
    np.random.default_rng(seed).shuffle(order)
    weight = np.ones(size, bool)
    weight.ravel()[total:] = False
    return np.resize(order, size), weight


def make_batch(source: BatchSource, indices: jax.Array, weight: jax.Array) -> Batch:
    """Return the batch of `indices`; ROIs are oriented and standardized, with one gray channel."""
    row_weight = weight.astype(jnp.float32)
    if isinstance(source, Activations):
        return Batch(*(column[indices] for column in source), row_weight)
    roi, orientation = indices // orientations.COUNT, indices % orientations.COUNT
    table = source.table[roi]
    gray = orientations.orient(source.pixels[roi], orientation).astype(jnp.float32)
    gray = (gray - source.mean[table, None, None]) / source.std[table, None, None]
    return Batch(gray[..., None], source.label[roi], source.task[roi], row_weight)
