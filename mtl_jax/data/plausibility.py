"""Check that a location can be that of a lesion in its image, at ingest and at scoring.

The limits accept what radiologists drew in the collections that docs/facts.md lists.
"""

from collections.abc import Sequence

import numpy as np

from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.types import Box, InputError, LesionView, Note

MAX_COVERAGE = 0.95  # of the rows and of the columns: a larger location marks no lesion
NOTED_COVERAGE = 0.75  # of the rows and of the columns: real boxes cover up to 0.62 of both
MIN_INSIDE = 0.5  # of the location's area
NOTED_OUTSIDE = 0.1  # of the location's area: real outlines overshoot a border by less
NOTED_SIZE_MM = 1.0

COVERS = "the lesion covers more than 75% of the rows and of the columns of the image"
BEYOND = "the location of the lesion extends beyond the image"
SMALL = "the lesion is smaller than 1 mm"
ONE_GRAY = "all pixels of the ROI have one gray value"
CONSTANT_CURE = ": correct its location, or the image if it is blank"
POLARITY = "the polarity of the table is used, but the header states that bright is dense"


def check_location(
    box: Box, shape: Sequence[int], pixel_um: tuple[float, float], user_table: bool
) -> tuple[Note, ...]:
    """Return the notes on a lesion's `box` in an image of `shape` (rows, columns).

    A box without extent is a centre. Raises InputError if the location is within the first pixel,
    which means fractions of the image, or smaller than a pixel. In a table that the user wrote
    (`user_table`), a location that covers the image or is mostly outside it is an error, too; in a
    published table it is noted.
    """
    top, left, bottom, right = box
    sizes = bottom - top, right - left
    text = ";".join(f"{edge:g}" for edge in box)
    if max(bottom, right) <= 1:
        raise InputError(
            f"its location {text} (top;left;bottom;right) is within the first pixel: these may be"
            " fractions of the image; give pixels"
        )
    if not any(sizes):
        return ()
    if min(sizes) < 1:
        raise InputError(
            f"its location {text} (top;left;bottom;right) is smaller than one stored pixel: these"
            " may be fractions or mm; give pixels"
        )
    inside = [
        max(min(end, size) - max(begin, 0), 0.0)
        for begin, end, size in zip(box[:2], box[2:], shape, strict=True)
    ]
    share = inside[0] * inside[1] / (sizes[0] * sizes[1])
    covered = [length / size for length, size in zip(inside, shape, strict=True)]
    of_image = f"{100 * covered[0]:.0f}% of the rows and {100 * covered[1]:.0f}% of the columns"
    if user_table and min(covered) > MAX_COVERAGE:
        raise InputError(
            f"its location covers {of_image}, which marks no lesion: correct it, or give only the"
            " centre if the image is a crop of the lesion"
        )
    if user_table and share < MIN_INSIDE:
        raise InputError(
            f"{100 - 100 * share:.0f}% of its location {text} (top;left;bottom;right) is outside"
            f" the image of {shape[0]} rows and {shape[1]} columns: correct it"
        )
    notes = [Note(COVERS, of_image)] if min(covered) > NOTED_COVERAGE else []
    if share < 1 - NOTED_OUTSIDE:
        notes.append(Note(BEYOND, f"{100 - 100 * share:.0f}% of it"))
    size_mm = [length * um / 1000 for length, um in zip(sizes, pixel_um, strict=True)]
    if max(size_mm) < NOTED_SIZE_MM:
        notes.append(Note(SMALL, f"{size_mm[0]:.2g} x {size_mm[1]:.2g} mm"))
    return tuple(notes)


def constant_rows(counts: np.ndarray) -> np.ndarray:
    """Return which of the ROIs (n, 128, 128) have one gray value, bool (n,).

    Such an ROI shows the background, or a blank image: it says nothing about a lesion.
    """
    return counts.min((1, 2)) == counts.max((1, 2))


def check_polarity(view: LesionView, image: StoredImage) -> tuple[Note, ...]:
    """Return a note if a table inverts an image whose DICOM header states that bright is dense.

    Bits, a polarity or a curve are errors if the reader applies the transform of the file.
    """
    if not image.transformed:
        inverted = image.header is not None and view.dark_is_dense
        return (Note(POLARITY, "dark_dense", corrected=True),) if inverted else ()
    if view.bits not in (None, image.bits):
        raise InputError(
            f"bits {view.bits} is invalid: the header defines the gray scale ({image.bits} bits"
            " after its transform); leave the column bits empty"
        )
    if view.dark_is_dense or view.curve:
        given = f"curve {view.curve}" if view.curve else "polarity dark_dense"
        raise InputError(
            f"{given}: the header already defines this transform and it is applied; leave the"
            " column empty"
        )
    return ()
