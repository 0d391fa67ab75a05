"""Rows kept on the host, in memory or in files, brought to the device a batch at a time."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from mtl_jax.training import orientations
from mtl_jax.training.dataset import Activations, BatchSource, Dataset


def on_host(source: BatchSource) -> bool:
    """Return whether the rows are in NumPy or in files, for want of room on the device."""
    return not isinstance(source[0], jax.Array)


def fetch(source: BatchSource, indices: np.ndarray) -> tuple[BatchSource, np.ndarray]:
    """Return `source` cut down to the rows of `indices`, and the indices that are the same in
    it."""
    flat, place = indices.ravel(), np.arange(indices.size).reshape(indices.shape)
    if isinstance(source, Activations):
        return Activations(*(rows[flat] for rows in source)), place
    rows = (column[flat // orientations.COUNT] for column in source[:4])
    local_arrays = place * orientations.COUNT + indices % orientations.COUNT
    return Dataset(*rows, source.mean, source.std), local_arrays


def prefetch(
    source: BatchSource, indices: Iterable[jax.Array | np.ndarray]
) -> Iterator[tuple[BatchSource, jax.Array | np.ndarray]]:
    """Yield what to draw each batch from, and its indices, for the indices (..., batch) of each
    step.

    A source on the host is read one batch ahead, while the device works on the last.
    """
    if not on_host(source):
        yield from ((source, row) for row in indices)
        return
    rows = iter(np.asarray(indices) if isinstance(indices, jax.Array) else indices)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(fetch, source, next(rows))
        for following in rows:
            ready, ahead = ahead.result(), reader.submit(fetch, source, following)
            yield ready
        yield ahead.result()
