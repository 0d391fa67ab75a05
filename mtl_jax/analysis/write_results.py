"""Write the files of an analysis atomically, and delete outdated ones."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import format_csv

MADE_FROM = "made_from.sha256"


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write a compressed .npz of `arrays`; equal arrays give a bit-identical file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    atomic.write_bytes(path, file.getvalue())


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV of `rows` below `header`; floats are written with nine digits."""
    cells = ([f"{v:.9g}" if isinstance(v, float) else v for v in row] for row in rows)
    atomic.write_text(path, format_csv(header, cells))


def delete_stale(folder: Path, made_from: str) -> None:
    """Delete the results in `folder` unless the digest of their inputs was `made_from`."""
    atomic.make_folder(folder)
    stamp = folder / MADE_FROM
    if stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace") == made_from:
        return
    for path in (*folder.glob("*.csv"), *folder.glob("*.npz")):
        path.unlink()
    atomic.write_text(stamp, made_from)
