"""Parse the location of a lesion in a table: box, circle, polygon, centre or mask."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax.data.image_notes import split_notes
from mtl_jax.imaging import mask
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.types import Box, InputError, prefix_errors

KINDS = ("box", "circle", "polygon", "centre", "mask_path")
FORMS = {"box": "top;left;bottom;right", "circle": "row;column;radius", "centre": "row;column"}


class LesionBox(NamedTuple):
    """A box in stored pixels from the top left, corrections in `note`, observations in `noted`."""

    box: Box
    note: str = ""
    noted: str = ""


def locate_lesion(
    cells: Mapping[str, str],
    image: Path | None,
    frame: int | None,
    mask_path: Path | None,
    from_bottom: bool,
    where: str,
) -> LesionBox | None:
    """Return the box of a lesion; None if it needs an image or mask that does not exist (None).

    `cells` holds the text of each of KINDS, exactly one of them not empty. Pixel i spans i to i +
    1, and a centre gives an empty box. `from_bottom`: rows count upwards from the lower border, so
    the image is read for its height. `where` begins the messages, such as 'TABLE line 7'.
    """
    filled = [kind for kind in KINDS if cells[kind]]
    if len(filled) != 1:
        raise InputError(f"{where}: fill exactly one of {', '.join(KINDS)}, not {len(filled)}")
    kind = filled[0]
    if kind == "mask_path":
        if image is None or mask_path is None:
            return None
        shape = _shape(image, frame, where)
        with prefix_errors(f"{where}: mask_path"):
            box, notes = mask.read_box(mask_path, shape)
        return LesionBox(box, *split_notes(notes))
    points, radius = _parse_points(kind, cells[kind], where)
    rows, columns = points[:, 0], points[:, 1]
    if from_bottom:
        if image is None:
            return None
        rows = _shape(image, frame, where)[0] - rows
    if kind == "box" and not (rows[0] < rows[1] and columns[0] < columns[1]):
        raise InputError(
            f"{where}: box {cells[kind]!r} is invalid: expected {FORMS[kind]}, bottom below top and"
            " right beyond left"
        )
    top, left = float(rows.min() - radius), float(columns.min() - radius)
    bottom, right = float(rows.max() + radius), float(columns.max() + radius)
    note = "centre only, extent not given" if kind == "centre" else ""
    return LesionBox((top, left, bottom, right), note)


def parse_numbers(
    text: str, column: str, where: str, form: str = "numbers separated by ';'"
) -> list[float]:
    """Return the finite numbers of a cell such as '70;70.5'; messages name the expected `form`."""
    try:
        values = [float(part) for part in text.split(";")]
    except ValueError as error:
        raise InputError(
            f"{where}: {column} {text!r} is invalid: expected {form}, with a decimal point"
        ) from error
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{where}: {column} {text!r} is invalid: expected finite numbers")
    return values


def _parse_points(kind: str, text: str, where: str) -> tuple[np.ndarray, float]:
    """Return points (n, 2) of row and column, and the radius around them."""
    message = f"{where}: {kind} {text!r} is invalid: expected"
    if kind == "polygon":
        pairs = [parse_numbers(pair.replace(",", ";"), kind, where) for pair in text.split(";")]
        if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
            raise InputError(f"{message} row,column;row,column;... of at least three points")
        return np.array(pairs), 0.0
    values = parse_numbers(text, kind, where, f"{FORMS[kind]} in numbers")
    if len(values) != len(FORMS[kind].split(";")):
        raise InputError(f"{message} {FORMS[kind]}")
    if kind == "box":
        return np.array(values).reshape(2, 2), 0.0
    radius = values[2] if kind == "circle" else 0.0
    if kind == "circle" and radius <= 0:
        raise InputError(f"{message} a radius above 0")
    return np.array([values[:2]]), radius


def _shape(image: Path, frame: int | None, where: str) -> tuple[int, ...]:
    with prefix_errors(where):
        return read_stored(image, frame).values.shape
