"""Checks of pixel sizes and stored values that hold for every source of images. Reads no files."""

import numpy as np

from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.types import InputError, Note

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
BULK_SHARE = 0.999  # the share of values that must lie low: a few specks are not counted
# Values of a background or text, how far above the rest they stand, and how many grays that has.
WHITES, GAP, FEWEST = 3, 2.0, 16
# Of an image in the wrong byte order: rows looked at, mean step as a part of the range, and by how
# much smaller it is in the right one.
SWAP_ROWS, ROUGH, SMOOTHER = 64, 0.02, 4.0

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


def check_values(stored: StoredImage, bits: int | None) -> tuple[Note, ...]:
    """Return what is to be noted about how much of its gray scale an image uses.

    `bits` is the depth that a table or caller gives, None where it gives none. About every eighth
    value in each direction is looked at, without padding. InputError: gray of 0 to 1 in an image
    of which nobody says so by bits 1, as to be taken as 12-bit gray it would be all black; floats
    below 0; words of 16 bits with their bytes the wrong way round.
    """
    sample = _sample(stored)
    if not sample.size:
        return ()
    _check_floats(stored, sample, bits)
    _check_byte_order(stored.values)
    depth = stored.depth
    white, high = _beside_white(sample, 1 << max(depth - 2, 1))
    if depth < 3 or high >= 1 << (depth - 2):
        return ()
    used = max(int(high).bit_length(), 1)
    detail = f"{100 * BULK_SHARE:g}% of the values{white} fit {used} of {depth} bits: "
    if _real(stored.values, stored.padding).max() >= 1 << used:
        detail += f"if so meant, save brighter values as {(1 << used) - 1} and give bits {used}"
    else:
        detail += "give bits if so meant"
    return (Note(UNUSED_BITS, detail),)


def _check_floats(stored: StoredImage, sample: np.ndarray, bits: int | None) -> None:
    if sample.dtype.kind != "f":
        return
    low = float(stored.values.min())
    top = (1 << (bits or stored.bits)) - 1
    if low < 0:
        raise InputError(
            f"its values go down to {low:g}, and gray is from 0 to {top} whatever bits says: save"
            " it as stored by the device, or add one number to every image that leaves none below"
            " 0, and save as uint16"
        )
    high = _most(sample)
    if high <= UNIT_SCALE and bits != 1:
        raise InputError(
            f"its values are floats up to {high:g}, on a scale of 0 to 1 and not of gray levels:"
            f" multiply them by {top}, save as uint16, or give bits 1 for a scale of exactly 0 to 1"
        )


def _check_byte_order(values: np.ndarray) -> None:
    """Reject words that are noise as read, and an image with their bytes the other way round."""
    if values.dtype.kind != "u" or values.itemsize != 2:
        return
    words = values[:: max(len(values) // SWAP_ROWS, 1)].astype(np.uint16)
    as_read, swapped = _roughness(words), _roughness(words.byteswap())
    if as_read > ROUGH and as_read > SMOOTHER * swapped:
        raise InputError(
            "its 16-bit words are noise as they are read, and an image with their two bytes the"
            " other way round: it was written in the wrong byte order (PGM has the high byte"
            " first); write it again"
        )


def _roughness(words: np.ndarray) -> float:
    """Mean difference of neighbours in a row, as a part of the whole range."""
    low, high = int(words.min()), int(words.max())
    steps = np.abs(np.diff(words.astype(np.int32), axis=1))
    return float(steps.mean()) / (high - low) if steps.size and high > low else 0.0


def _beside_white(sample: np.ndarray, quarter: int) -> tuple[str, float]:
    """In words, which gray is not counted, and the value that MOST of the rest do not exceed.

    Not counted are up to three values that stand apart: a white background, text or a border far
    above all else, with next to nothing between. Detectors in air are no such case: the skin has
    all grays between.
    """
    high = _most(sample)
    if high < quarter:
        return "", high
    counts = np.bincount(np.clip(sample, 0, 65535).astype(np.int64))
    apart = np.argsort(counts[quarter:])[-WHITES:] + quarter
    shares = counts[apart] / sample.size
    apart = apart[shares > 1 - BULK_SHARE]
    rest = counts.copy()
    rest[apart] = 0
    most = float(np.searchsorted(np.cumsum(rest), BULK_SHARE * rest.sum()))
    drawn = np.count_nonzero(rest) < FEWEST  # a drawing: its bright parts are no background
    if drawn or not len(apart) or most >= quarter or apart.min() < GAP * max(most, 1.0):
        return "", high
    share = 100 * counts[apart].sum() / sample.size
    return f", without {share:.3g}% from {apart.min()} on,", most


def _most(sample: np.ndarray) -> float:
    place = min(int(BULK_SHARE * sample.size), sample.size - 1)
    return float(np.partition(sample, place)[place])


def _sample(stored: StoredImage) -> np.ndarray:
    """Values (n,) on a coarse grid, padding excluded."""
    step = int(np.clip((stored.values.size / SAMPLE) ** 0.5, 1, 8))
    return _real(stored.values[::step, ::step], stored.padding)


def _real(values: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """Values (n,) without padding."""
    first, stop = padding
    return values[(values < first) | (values >= stop)] if stop > first else values.ravel()
