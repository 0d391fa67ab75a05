"""The box of a lesion from a mask. Knows no table and no film.

What is stored above 0 is inside, whatever a photometric interpretation or a palette says of how it
is shown: exporters copy both from the film.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from mtl_jax.imaging.read import read_raw
from mtl_jax.nouns import InputError, Note

Box = tuple[float, float, float, float]

CUT = "mask of several gray values, cut at half of the largest"
PARTS = "mask of several separate parts, taken as one lesion"
LABELS = 16  # most values of a map of numbered lesions; compression and resampling give more
BRIGHT = 128  # from here on a largest value is white, and not a number
NEAR = 0.1  # of the largest value: what compression adds to 0 or takes from white
REACH = 8  # pixels from its border that compression or resampling changes: a block of JPEG
MOST_BETWEEN = 4  # times as many as white: a picture has more
MOST_ASTRAY = 0.01  # times white that may be farther off: pale specks
SQUARE = np.ones((3, 3), bool)
LEAST_PART = 0.1  # of the largest part: smaller ones are specks


def read_box(path: Path, shape: Sequence[int]) -> tuple[Box, tuple[Note, ...]]:
    """(top, left, bottom, right), half open, of the mask in a file, and what was noticed.

    `shape` is that of its image. InputError gives the reason and the cure: the file cannot be read,
    has another size, is empty, covers the image from border to border, or is no mask of one lesion.
    """
    return box_of(read_raw(path), shape, f"the mask {path.name}")


def box_of(
    values: np.ndarray, shape: Sequence[int], name: str = "the mask"
) -> tuple[Box, tuple[Note, ...]]:
    """As `read_box`, of stored values (H, W) of any type; `name` is for messages."""
    if values.shape != tuple(shape):
        raise InputError(f"{values.shape} pixels, its image has {tuple(shape)}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{name} holds values that are not finite")
    largest = values.max(initial=0)
    if not largest > 0:
        raise InputError(f"{name} is empty: no value is above 0")
    inside = values > 0
    notes = []
    if (inside & (values < largest)).any():
        inside = _cut(values, float(largest), name)
        notes.append(Note(CUT))
    box = _box(inside)
    if box == (0, 0, *shape):
        raise InputError(
            f"{name} reaches from border to border of its image: what is above 0 is inside, so"
            " invert it if it is the other way round, or give a box"
        )
    parts = _parts(inside[box[0] : box[2], box[1] : box[3]])
    if parts > 1:
        notes.append(Note(PARTS, f"{parts} parts"))
    top, left, bottom, right = map(float, box)
    return (top, left, bottom, right), tuple(notes)


def _cut(values: np.ndarray, largest: float, name: str) -> np.ndarray:
    """Inside (H, W) of a mask of more than two values: from half of the largest on.

    Values between may stand only where compression or resampling puts them, near the border.
    """
    inside = values >= largest / 2
    exact = values.dtype.kind != "f" and largest < BRIGHT
    slack = 0.0 if exact else NEAR * largest
    between = (values > slack) & (values < largest - slack)
    if not between.any():
        return inside
    top, left, bottom, right = _box(values > 0)
    crop = (slice(top, bottom), slice(left, right))
    # Whatever is outside the crop is 0, and a border there is one too.
    wide = np.pad(inside[crop], 1)
    far = ~ndimage.binary_dilation(wide, SQUARE, iterations=REACH)
    deep = ndimage.binary_erosion(wide, SQUARE, iterations=REACH)
    astray = np.count_nonzero(between[crop] & (far | deep)[1:-1, 1:-1])
    white = np.count_nonzero(values >= largest - slack)
    picture = astray > MOST_ASTRAY * white or np.count_nonzero(between) > MOST_BETWEEN * white
    found = np.unique(values[crop][between[crop] | (values[crop] == largest)])
    if picture or (len(found) <= LABELS and _plateau(values[crop], between[crop])):
        listed = ", ".join(f"{value:g}" for value in found[:4])
        more = ", ..." if len(found) > 4 else ""
        raise InputError(
            f"{name} holds the values {listed}{more} over whole areas: save a mask of two values"
            " for each lesion, 0 outside"
        )
    return inside


def _plateau(values: np.ndarray, between: np.ndarray) -> bool:
    """Whether 3x3 pixels of one value are all `between`: an area, and no blurred border."""
    flat = ndimage.maximum_filter(values, 3) == ndimage.minimum_filter(values, 3)
    return bool((flat & ndimage.binary_erosion(between, SQUARE)).any())


def _box(inside: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _parts(inside: np.ndarray) -> int:
    """How many parts, touching at corners or not at all, are no specks."""
    labels, count = ndimage.label(inside, SQUARE)
    if count == 1:
        return 1
    sizes = np.bincount(labels.ravel())[1:]
    return int((sizes >= LEAST_PART * sizes.max()).sum())
