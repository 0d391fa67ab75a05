"""The box of a lesion from a mask. Knows no table and no film.

What is stored above 0 is inside, whatever a photometric interpretation or a palette says of how it
is shown: exporters copy both from the film.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from mtl_jax.imaging.read_image import read_raw
from mtl_jax.types import InputError, Note

Box = tuple[float, float, float, float]

CUT = "mask of several gray values, cut at half of the largest"
PARTS = "mask of several separate parts, taken as one lesion"
SPECKS = "small parts of a mask, below a tenth of its largest, are left out"
HOLE = "mask with a hole in it, taken as part of the lesion"
LABELS = 16  # most values of a map of numbered lesions; compression and resampling give more
BRIGHT = 128  # from here on a largest value is white, and not a number
NEAR = 0.1  # of the largest value: what compression adds to 0 or takes from white
REACH = 8  # pixels from its border that compression or resampling changes: a block of JPEG
MOST_BETWEEN = 4  # times as many as white: a picture has more
MOST_ASTRAY = 0.01  # times white that may be farther off: pale specks
SQUARE = np.ones((3, 3), bool)
LEAST_PART = 0.1  # of the largest part: smaller ones are specks
MOST_INSIDE = (
    0.65  # of the image: radiologists' outlines cover up to 0.44 of it, and of a crop more
)
LEAST_HOLE = 0.01  # of what is inside: compression leaves smaller ones


def read_box(path: Path, shape: Sequence[int]) -> tuple[Box, tuple[Note, ...]]:
    """(top, left, bottom, right), half open, of the mask in a file, and what was noticed.

    `shape` is that of its image. InputError gives the reason and the cure: the file cannot be read,
    has another size, is empty, covers the image from border to border, or is no mask of one lesion.
    """
    return box_from_mask(read_raw(path), shape, f"the mask {path.name}")


def box_from_mask(
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
    if not is_lesion_mask(inside):
        raise InputError(
            f"{name} covers {100 * inside.mean():.0f}% of its image, or reaches from border to"
            " border: what is above 0 is inside, so invert it if it is the other way round, or"
            " give a box or a centre"
        )
    box, found = bounding_box(inside)
    return box, (*notes, *found)


def is_lesion_mask(inside: np.ndarray) -> bool:
    """Whether `inside` (H, W) bool can be a lesion: neither most of its image nor all of its rows
    and columns. An inverted mask is neither, and a mask of the breast mostly."""
    return float(inside.mean()) <= MOST_INSIDE and _box(inside) != (0, 0, *inside.shape)


def bounding_box(inside: np.ndarray) -> tuple[Box, tuple[Note, ...]]:
    """The box of what is inside (H, W) bool, not empty, without specks; and what was noticed."""
    top, left, bottom, right = whole = _box(inside)
    labels, count = ndimage.label(inside[top:bottom, left:right], SQUARE)
    sizes = np.bincount(labels.ravel())[1:]
    is_part = sizes >= LEAST_PART * sizes.max()
    notes = []
    if count > is_part.sum():
        kept = _box(np.concatenate([[False], is_part])[labels])
        box = (kept[0] + top, kept[1] + left, kept[2] + top, kept[3] + left)
        if box != whole:
            specks = sizes[~is_part]
            detail = f"{len(specks)} of up to {specks.max()} pixels, the largest of {sizes.max()}"
            notes.append(Note(SPECKS, detail, corrected=True))
        top, left, bottom, right = box
    if is_part.sum() > 1:
        notes.append(Note(PARTS, f"{is_part.sum()} parts"))
    hole = _largest_hole(inside[top:bottom, left:right]) / sizes[is_part].sum()
    if hole >= LEAST_HOLE:
        notes.append(Note(HOLE, f"{100 * hole:.0f}% of its area"))
    return (float(top), float(left), float(bottom), float(right)), tuple(notes)


def _largest_hole(inside: np.ndarray) -> int:
    """Pixels of the largest area outside that what is inside surrounds."""
    labels, _ = ndimage.label(np.pad(~inside, 1, constant_values=True))
    sizes = np.bincount(labels.ravel())
    sizes[[0, labels[0, 0]]] = 0
    return int(sizes.max())


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
