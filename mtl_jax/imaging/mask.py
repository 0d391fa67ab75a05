"""Compute the bounding box of a lesion from a segmentation mask.

Stored values above 0 are inside. Photometric interpretation and palette are ignored, because
exporters copy both from the image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from mtl_jax.imaging.read_image import read_raw
from mtl_jax.types import Box, InputError, Note

THRESHOLDED = "mask of several gray values: thresholded at half of the largest"
PARTS = "mask of several components: treated as one lesion"
SPECKS = "mask with components smaller than a tenth of its largest: they are ignored"
HOLE = "mask with a hole: treated as part of the lesion"
MAX_LABELS = 16  # values of a label map; compression and resampling produce more
MIN_WHITE = 128  # a largest value from here on is white, a smaller one a label
TOLERANCE = 0.1  # of the largest value: the error of compression at 0 and at white
BORDER_PIXELS = 8  # changed by compression (a JPEG block) or resampling
MAX_GRAY_RATIO = 4  # gray pixels to white pixels; a photograph has more
MAX_FAR_RATIO = 0.01  # gray pixels far from the border to white pixels: pale specks
SQUARE = np.ones((3, 3), bool)
MIN_COMPONENT = 0.1  # of the largest component; smaller ones are specks
MAX_INSIDE = 0.65  # of the image; outlines by radiologists cover up to 0.44, more of a crop
MIN_HOLE = 0.01  # of the mask; compression leaves smaller holes


def read_box(path: Path, shape: Sequence[int]) -> tuple[Box, tuple[Note, ...]]:
    """Return the box (top, left, bottom, right), half open, of a mask of one lesion, and notes."""
    return box_from_mask(read_raw(path), shape, f"the mask {path.name}")


def box_from_mask(
    values: np.ndarray, shape: Sequence[int], name: str = "the mask"
) -> tuple[Box, tuple[Note, ...]]:
    """Return box and notes as `read_box` for stored values (H, W); messages begin with `name`."""
    if values.shape != tuple(shape):
        raise InputError(
            f"{values.shape} pixels, but its image has {tuple(shape)}: save it in that size"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{name} holds values that are not finite")
    largest = values.max(initial=0)
    if not largest > 0:
        raise InputError(f"{name} is empty: no value is above 0")
    inside = values > 0
    notes = []
    if (inside & (values < largest)).any():
        inside = _threshold(values, float(largest), name)
        notes.append(Note(THRESHOLDED))
    if not is_lesion_mask(inside):
        raise InputError(
            f"{name} covers {100 * inside.mean():.0f}% of its image, or extends from border to"
            " border: values above 0 are inside, so invert it if it is 0 inside, or give a box or a"
            " centre"
        )
    box, box_notes = bounding_box(inside)
    return box, (*notes, *box_notes)


def is_lesion_mask(inside: np.ndarray) -> bool:
    """Return whether `inside` (H, W) covers neither most of its image nor all rows and columns."""
    return float(inside.mean()) <= MAX_INSIDE and extent(inside) != (0, 0, *inside.shape)


def bounding_box(inside: np.ndarray) -> tuple[Box, tuple[Note, ...]]:
    """Return the bounding box of `inside` (H, W) bool, not empty, without specks; and notes."""
    top, left, bottom, right = whole = extent(inside)
    labels, n_components = ndimage.label(inside[top:bottom, left:right], SQUARE)
    sizes = np.bincount(labels.ravel())[1:]
    is_large = sizes >= MIN_COMPONENT * sizes.max()
    notes = []
    if n_components > is_large.sum():
        large = extent(np.concatenate([[False], is_large])[labels])
        box = (large[0] + top, large[1] + left, large[2] + top, large[3] + left)
        if box != whole:
            specks = sizes[~is_large]
            detail = f"{len(specks)} of up to {specks.max()} pixels, the largest of {sizes.max()}"
            notes.append(Note(SPECKS, detail, corrected=True))
        top, left, bottom, right = box
    if is_large.sum() > 1:
        notes.append(Note(PARTS, f"{is_large.sum()} components"))
    hole = _largest_hole(inside[top:bottom, left:right]) / sizes[is_large].sum()
    if hole >= MIN_HOLE:
        notes.append(Note(HOLE, f"{100 * hole:.0f}% of its area"))
    return (float(top), float(left), float(bottom), float(right)), tuple(notes)


def _largest_hole(inside: np.ndarray) -> int:
    """Return the number of pixels of the largest hole."""
    labels, _ = ndimage.label(np.pad(~inside, 1, constant_values=True))
    sizes = np.bincount(labels.ravel())
    sizes[[0, labels[0, 0]]] = 0
    return int(sizes.max())


def _threshold(values: np.ndarray, largest: float, name: str) -> np.ndarray:
    """Return the inside (H, W) of a mask of more than two values: at least half of the largest.

    Only near the border may gray values occur: compression and resampling produce them there.
    """
    inside = values >= largest / 2
    is_exact = values.dtype.kind != "f" and largest < MIN_WHITE
    tolerance = 0.0 if is_exact else TOLERANCE * largest
    is_gray = (values > tolerance) & (values < largest - tolerance)
    if not is_gray.any():
        return inside
    top, left, bottom, right = extent(values > 0)
    crop = (slice(top, bottom), slice(left, right))
    # Outside the crop all values are 0, so the edge of the crop may be a border of the mask.
    padded = np.pad(inside[crop], 1)
    far_outside = ~ndimage.binary_dilation(padded, SQUARE, iterations=BORDER_PIXELS)
    far_inside = ndimage.binary_erosion(padded, SQUARE, iterations=BORDER_PIXELS)
    n_far = np.count_nonzero(is_gray[crop] & (far_outside | far_inside)[1:-1, 1:-1])
    n_white = np.count_nonzero(values >= largest - tolerance)
    n_gray = np.count_nonzero(is_gray)
    is_photograph = n_far > MAX_FAR_RATIO * n_white or n_gray > MAX_GRAY_RATIO * n_white
    levels = np.unique(values[crop][is_gray[crop] | (values[crop] == largest)])
    if is_photograph or (len(levels) <= MAX_LABELS and _has_plateau(values[crop], is_gray[crop])):
        first_levels = ", ".join(f"{value:g}" for value in levels[:4])
        ellipsis = ", ..." if len(levels) > 4 else ""
        raise InputError(
            f"{name} contains areas of the values {first_levels}{ellipsis}: save a mask of two"
            " values for each lesion, 0 outside"
        )
    return inside


def _has_plateau(values: np.ndarray, is_gray: np.ndarray) -> bool:
    """Return whether 3x3 gray pixels have one value: an area, and not a blurred border."""
    flat = ndimage.maximum_filter(values, 3) == ndimage.minimum_filter(values, 3)
    return bool((flat & ndimage.binary_erosion(is_gray, SQUARE)).any())


def extent(inside: np.ndarray) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right), half open, of `inside` (H, W) bool, not empty."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
