"""Rows kept on the host, in memory or in mapped files, brought to the device a batch at a time.

Knows no network."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from mtl_jax.training import orientations
from mtl_jax.training.pool import Maps, Pool, Source


def on_host(source: Source) -> bool:
    """Whether NumPy keeps the rows, for want of room on the device."""
    return not isinstance(source[0], jax.Array)


def fetch(source: Source, picks: np.ndarray) -> tuple[Source, np.ndarray]:
    """`source` cut down to the rows of `picks`, and the picks that are the same in it."""
    if isinstance(source, Maps):
        return Maps(*(rows[picks] for rows in source)), np.arange(len(picks))
    region, which = np.divmod(picks, orientations.COUNT)
    rows = (column[region] for column in (source.pixels, source.label, source.task))
    return Pool(*rows, source.mean, source.std), np.arange(len(picks)) * orientations.COUNT + which


def feed(source: Source, picks: jax.Array) -> Iterator[tuple[Source, jax.Array | np.ndarray]]:
    """What to draw each batch from, and its picks, for `picks` (steps, batch).

    A source on the host is read one batch ahead, while the device works on the last.
    """
    if not on_host(source):
        yield from ((source, row) for row in picks)
        return
    rows = np.asarray(picks)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(fetch, source, rows[0])
        for following in rows[1:]:
            ready, ahead = ahead.result(), reader.submit(fetch, source, following)
            yield ready
        yield ahead.result()
