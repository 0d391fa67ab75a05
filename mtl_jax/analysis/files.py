"""Writes what an analysis found, whole or not at all. Knows nothing of what it holds."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """A compressed .npz of `arrays`, the same bytes for the same arrays."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV of `rows` under `header`; a float keeps nine digits."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for row in rows:
            table.writerow([f"{v:.9g}" if isinstance(v, float) else v for v in row])
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
