"""Batches from rows on the host: the next batch is read while the device computes."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from mtl_jax.training import orientations
from mtl_jax.training.dataset import Activations, BatchSource, Dataset


def is_on_host(source: BatchSource) -> bool:
    """Return whether the rows are in the host's memory or in files, not on the device."""
    return not isinstance(source[0], jax.Array)


def select_rows(source: BatchSource, indices: np.ndarray) -> tuple[BatchSource, np.ndarray]:
    """Return the subset of `source` that has the rows of `indices`, and the indices in it."""
    flat, positions = indices.ravel(), np.arange(indices.size).reshape(indices.shape)
    if isinstance(source, Activations):
        return Activations(*(column[flat] for column in source)), positions
    columns = (column[flat // orientations.COUNT] for column in source[:4])
    subset_indices = positions * orientations.COUNT + indices % orientations.COUNT
    subset = Dataset(*columns, source.mean, source.std, source.digest, np.int32(flat.size))
    return subset, subset_indices


def prefetch(
    source: BatchSource, indices: Iterable[jax.Array | np.ndarray]
) -> Iterator[tuple[BatchSource, jax.Array | np.ndarray]]:
    """Yield the source of each step's batch and the indices in it.

    `indices` holds the indices (..., batch) of each step. A source on the host is read one batch
    ahead in a thread.
    """
    if not is_on_host(source):
        yield from ((source, step_indices) for step_indices in indices)
        return
    steps = iter(np.asarray(indices) if isinstance(indices, jax.Array) else indices)
    with ThreadPoolExecutor(1) as reader:
        pending = reader.submit(select_rows, source, next(steps))
        for step_indices in steps:
            ready, pending = pending.result(), reader.submit(select_rows, source, step_indices)
            yield ready
        yield pending.result()
