"""Writes what an analysis found, whole or not at all. Knows nothing of what it holds."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import as_csv

MADE_FROM = "made_from.sha256"


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """A compressed .npz of `arrays`, the same bytes for the same arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    atomic.write_bytes(path, file.getvalue())


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV of `rows` under `header`; a float keeps nine digits."""
    cells = ([f"{v:.9g}" if isinstance(v, float) else v for v in row] for row in rows)
    atomic.write_text(path, as_csv(header, cells))


def delete_stale(folder: Path, made_from: str) -> None:
    """Deletes the files in `folder`, which is made, that were made from anything else.

    `made_from` is the digest of all that decides them. Folders within are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / MADE_FROM
    if stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace") == made_from:
        return
    for path in (*folder.glob("*.csv"), *folder.glob("*.npz")):
        path.unlink()
    atomic.write_text(stamp, made_from)
