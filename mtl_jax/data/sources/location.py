"""A lesion's box from a manifest's cell: box, circle, polygon, centre or mask. Reads no table."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtl_jax.imaging.read import read_image
from mtl_jax.nouns import InputError

Box = tuple[float, float, float, float]

KINDS = ("box", "circle", "polygon", "centre", "mask_path")


def box(
    cells: Mapping[str, str],
    image: Path,
    frame: int,
    *,
    mask: Path | None,
    from_bottom: bool,
    where: str,
) -> tuple[Box, str]:
    """(top, left, bottom, right) in stored pixels from the top left, and a note, mostly empty.

    `cells` maps each of KINDS to its text, exactly one of them filled. Pixel i spans i to i + 1.
    With `from_bottom` rows count upwards from the lower border, and the image is read for its
    height. A centre alone gives an empty box there. InputError begins with `where`.
    """
    filled = [kind for kind in KINDS if cells[kind]]
    if len(filled) != 1:
        raise InputError(f"{where}: fill exactly one of {', '.join(KINDS)}, not {len(filled)}")
    kind = filled[0]
    if mask is not None:
        return _of_mask(mask, image, frame, where), ""
    points, radius = _points(kind, cells[kind], where)
    rows, columns = points[:, 0], points[:, 1]
    if from_bottom:
        rows = read_image(image, frame)[0].shape[0] - rows
    if kind == "box" and not (rows[0] < rows[1] and columns[0] < columns[1]):
        raise InputError(f"{where}: box is top;left;bottom;right, with bottom below top")
    top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
    found = (float(top - radius), float(left - radius))
    found += (float(bottom + radius), float(right + radius))
    return found, "centre only, extent not given" if kind == "centre" else ""


def numbers(text: str, column: str, where: str) -> list[float]:
    """The finite numbers of a cell such as '70;70.5'."""
    try:
        values = [float(part) for part in text.split(";")]
    except ValueError as error:
        raise InputError(f"{where}: {column} {text!r}: numbers separated by ';'") from error
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{where}: {column} {text!r}: every number must be finite")
    return values


def _points(kind: str, text: str, where: str) -> tuple[np.ndarray, float]:
    """Points (n, 2) of row and column, and the radius around them."""
    if kind == "polygon":
        pairs = [numbers(pair.replace(",", ";"), kind, where) for pair in text.split(";")]
        if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
            raise InputError(f"{where}: polygon is row,column;row,column;... of three or more")
        return np.array(pairs), 0.0
    form = {"box": "top;left;bottom;right", "circle": "row;column;radius", "centre": "row;column"}
    values = numbers(text, kind, where)
    if len(values) != len(form[kind].split(";")):
        raise InputError(f"{where}: {kind} {text!r} is not {form[kind]}")
    if kind == "box":
        return np.array(values).reshape(2, 2), 0.0
    radius = values[2] if kind == "circle" else 0.0
    if kind == "circle" and radius <= 0:
        raise InputError(f"{where}: circle {text!r}: the radius must be above 0")
    return np.array([values[:2]]), radius


def _of_mask(mask: Path, image: Path, frame: int, where: str) -> Box:
    inside = read_image(mask)[0] > 0
    shape = read_image(image, frame)[0].shape
    if inside.shape != shape:
        raise InputError(f"{where}: mask_path: {inside.shape} pixels, its image has {shape}")
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        raise InputError(f"{where}: mask_path: the mask {mask.name} is empty")
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)
