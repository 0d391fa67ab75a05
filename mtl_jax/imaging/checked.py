"""Checks of pixel sizes and stored values that hold for every source of images. Reads no files."""

import numpy as np

from mtl_jax.imaging.stored import Stored
from mtl_jax.nouns import InputError, Note

# Detectors and film digitizers have pixels of 25 to 200 um, reduced copies up to 800 um.
FINEST_UM, COARSEST_UM = 10.0, 1000.0
# Rows against columns: beyond this a header's spacing is wrong; two numbers that a user gives may
# describe a squeezed image, but not one of other units.
SQUARE_HEADER, SQUARE_GIVEN = 1.2, 5.0
# Of a DICOM header, the detector's own first.
SPACING_FIELDS = (
    "ImagerPixelSpacing",
    "PixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelMeasuresSequence",
)
# No gray scale has its brightest values there, but that of 0 to 1, resampled.
UNIT_SCALE = 2.0
SAMPLE = 1 << 16  # about the number of values that stand for all of an image
MOST = 0.999  # the share of values that must lie low: burnt-in text and borders are not counted

UNUSED_BITS = "fewer bits are used than the image says"


def check_pixel_um(pixel_um: tuple[float, float], source: str) -> None:
    """Reject a pixel size (row, column) in um that no mammogram has.

    `source` is the column, option or header field that it is from. InputError: not two positive
    numbers, below 10 um, above 1000 um, or rows against columns as no image has them.
    """
    row, column = pixel_um
    size = f"{row:g} x {column:g} um ({source})"
    if not (0 < row < float("inf") and 0 < column < float("inf")):
        raise InputError(f"pixel size {size} is not two positive numbers; give pixel_um, in um")
    if min(row, column) < FINEST_UM:
        raise InputError(
            f"pixel size {size}: no mammogram is finer than {FINEST_UM:g} um; give pixel_um in um,"
            " not mm"
        )
    if max(row, column) > COARSEST_UM:
        raise InputError(
            f"pixel size {size}: no mammogram is coarser than {COARSEST_UM:g} um; give pixel_um in"
            " um"
        )
    limit = SQUARE_HEADER if source in SPACING_FIELDS else SQUARE_GIVEN
    if max(row / column, column / row) > limit * 1.000001:
        raise InputError(
            f"pixel size {size}: rows and columns differ too much to be one image's; give pixel_um"
            " as row;column"
        )


def check_values(stored: Stored, bits: int | None) -> tuple[Note, ...]:
    """Return what is to be noted about how much of its gray scale an image uses.

    `bits` is the depth that a table or caller gives, None where it gives none. About every eighth
    value in each direction is looked at, without padding. InputError: gray of 0 to 1 in an image
    of which nobody says so by bits 1; to be taken as 12-bit gray it would be all black.
    """
    sample = _sample(stored)
    if not sample.size:
        return ()
    place = min(int(MOST * sample.size), sample.size - 1)
    high = float(np.partition(sample, place)[place])
    if sample.dtype.kind == "f" and high <= UNIT_SCALE and bits != 1:
        raise InputError(
            f"its values are floats up to {high:g}, on a scale of 0 to 1 and not of gray levels:"
            f" multiply them by {(1 << (bits or stored.bits)) - 1}, save as uint16, or give bits 1"
            " for a scale of exactly 0 to 1"
        )
    depth = stored.depth
    if depth < 3 or high >= 1 << (depth - 2):
        return ()
    used = max(int(high).bit_length(), 1)
    detail = f"{100 * MOST:g}% of the values fit {used} of {depth} bits: give bits if so meant"
    return (Note(UNUSED_BITS, detail),)


def _sample(stored: Stored) -> np.ndarray:
    """Values (n,) on a coarse grid, padding excluded."""
    step = int(np.clip((stored.values.size / SAMPLE) ** 0.5, 1, 8))
    sample = stored.values[::step, ::step].ravel()
    first, stop = stored.padding
    return sample[(sample < first) | (sample >= stop)] if stop > first else sample
