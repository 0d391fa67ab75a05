"""Whether a location can be a lesion's in its image, for every source and for scoring alike. The
limits let pass what radiologists drew: docs/facts.md says on which collections."""

from collections.abc import Sequence

import numpy as np

from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.types import Box, InputError, LesionView, Note

MAX_COVERAGE = 0.95  # of the rows and of the columns: a location that covers more marks no lesion
NOTED_COVERAGE = 0.75  # of the rows and of the columns: genuine boxes cover up to 0.62 of both
MIN_INSIDE = 0.5  # of the location's area
NOTED_OUTSIDE = 0.1  # of the location's area: outlines overshoot a border by less
NOTED_SIZE_MM = 1.0

COVERS = "the lesion covers more than 75% of the rows and of the columns of the image"
BEYOND = "the lesion's location reaches beyond the image"
SMALL = "the lesion is smaller than 1 mm"
ONE_GRAY = "the ROI is one gray value throughout"
POLARITY = "the polarity of the table is taken, the header says bright where dense"


def check_location(
    box: Box, shape: Sequence[int], pixel_um: tuple[float, float], user_table: bool
) -> tuple[Note, ...]:
    """Return what is to be noted of a lesion's `box` in an image of `shape` (rows, columns).

    An empty box is a centre without extent. InputError: the location lies in the first pixel, as
    fractions of the image do, or is smaller than a pixel; in a table that a user wrote
    (`user_table`) also one that covers the image or lies mostly outside it, which a published
    table gets a note for.
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
            f"its location covers {of_image}, which marks no lesion: correct it, or give the centre"
            " alone where the image is a crop of the lesion"
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


def check_roi(roi: np.ndarray) -> tuple[Note, ...]:
    """Return a note where an ROI shows nothing at all, as one of the background or a blank file."""
    value = float(roi.flat[0])
    return (Note(ONE_GRAY, f"{value:g}"),) if (roi == value).all() else ()


def check_polarity(view: LesionView, image: StoredImage) -> tuple[Note, ...]:
    """Return a note where a table inverts an image whose DICOM header says bright where dense.

    InputError: `bits`, polarity or curve of the view where the reader makes the gray from the
    file's own statement of it (`image.transformed`).
    """
    if not image.transformed:
        inverted = image.header is not None and view.dark_is_dense
        return (Note(POLARITY, "dark_dense", corrected=True),) if inverted else ()
    if view.bits not in (None, image.bits):
        raise InputError(
            f"bits {view.bits} was given, but its header makes it density of {image.bits} bits:"
            " leave bits empty"
        )
    if view.dark_is_dense or view.curve:
        given = f"curve {view.curve}" if view.curve else "polarity dark_dense"
        raise InputError(
            f"{given} was given, but the file says it too, and is made bright where dense when it"
            " is read: leave it empty, or the gray is inverted or transformed twice"
        )
    return ()
