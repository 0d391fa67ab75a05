"""A lesion's box from a manifest's cell: box, circle, polygon, centre or mask."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax.imaging import mask
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.types import InputError, Note, naming

Box = tuple[float, float, float, float]

KINDS = ("box", "circle", "polygon", "centre", "mask_path")


class LesionBox(NamedTuple):
    """(top, left, bottom, right) in stored pixels from the top left; what had to be assumed, and
    what was noticed, both mostly empty."""

    box: Box
    note: str = ""
    noted: str = ""

    @classmethod
    def from_notes(cls, box: Box, notes: Sequence[Note]) -> "LesionBox":
        """Return `box` with the notes of a mask, corrections and observations apart."""
        corrections = "; ".join(note.text for note in notes if note.corrected)
        return cls(box, corrections, "; ".join(n.text for n in notes if not n.corrected))


def locate_lesion(
    cells: Mapping[str, str],
    image: Path | None,
    frame: int | None,
    mask_path: Path | None,
    from_bottom: bool,
    where: str,
) -> LesionBox | None:
    """Return the place of a lesion.

    `cells` maps each of KINDS to its text, exactly one of them filled. Pixel i spans i to i + 1.
    With `from_bottom` rows count upwards from the lower border, and the image is read for its
    height. A centre alone gives an empty box there. None: the image or mask (None) that it needs is
    not there; what can be checked without is. InputError begins with `where`.
    """
    filled = [kind for kind in KINDS if cells[kind]]
    if len(filled) != 1:
        raise InputError(f"{where}: fill exactly one of {', '.join(KINDS)}, not {len(filled)}")
    kind = filled[0]
    if kind == "mask_path":
        there = image is not None and mask_path is not None
        return _of_mask(mask_path, image, frame, where) if there else None
    points, radius = _points(kind, cells[kind], where)
    rows, columns = points[:, 0], points[:, 1]
    if from_bottom:
        if image is None:
            return None
        rows = _shape(image, frame, where)[0] - rows
    if kind == "box" and not (rows[0] < rows[1] and columns[0] < columns[1]):
        raise InputError(f"{where}: box is top;left;bottom;right, with bottom below top")
    top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
    found = (float(top - radius), float(left - radius))
    found += (float(bottom + radius), float(right + radius))
    return LesionBox(found, "centre only, extent not given" if kind == "centre" else "")


def parse_numbers(text: str, column: str, where: str) -> list[float]:
    """Return the finite numbers of a cell such as '70;70.5'."""
    try:
        values = [float(part) for part in text.split(";")]
    except ValueError as error:
        raise InputError(
            f"{where}: {column} {text!r}: numbers separated by ';', with a point"
        ) from error
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{where}: {column} {text!r}: every number must be finite")
    return values


def _points(kind: str, text: str, where: str) -> tuple[np.ndarray, float]:
    """Points (n, 2) of row and column, and the radius around them."""
    if kind == "polygon":
        pairs = [parse_numbers(pair.replace(",", ";"), kind, where) for pair in text.split(";")]
        if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
            raise InputError(f"{where}: polygon is row,column;row,column;... of three or more")
        return np.array(pairs), 0.0
    form = {"box": "top;left;bottom;right", "circle": "row;column;radius", "centre": "row;column"}
    values = parse_numbers(text, kind, where)
    if len(values) != len(form[kind].split(";")):
        raise InputError(f"{where}: {kind} {text!r} is not {form[kind]}")
    if kind == "box":
        return np.array(values).reshape(2, 2), 0.0
    radius = values[2] if kind == "circle" else 0.0
    if kind == "circle" and radius <= 0:
        raise InputError(f"{where}: circle {text!r}: the radius must be above 0")
    return np.array([values[:2]]), radius


def _of_mask(path: Path, image: Path, frame: int | None, where: str) -> LesionBox:
    shape = _shape(image, frame, where)
    with naming(f"{where}: mask_path"):
        box, notes = mask.read_box(path, shape)
    return LesionBox.from_notes(box, notes)


def _shape(image: Path, frame: int | None, where: str) -> tuple[int, ...]:
    with naming(where):
        return read_stored(image, frame).values.shape
