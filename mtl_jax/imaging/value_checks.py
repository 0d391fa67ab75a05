"""Check the plausibility of pixel sizes and stored values of images from any source."""

import numpy as np

from mtl_jax.imaging.stored_image import StoredImage
from mtl_jax.types import InputError, Note

# Detectors and film digitizers have pixels of 25 to 200 um, reduced copies up to 1,100 um.
MIN_UM, MAX_UM = 10.0, 1200.0
# Largest ratio of rows to columns: a larger one of a header is an error. A user may describe a
# squeezed image, but a ratio of 5 is an error of units.
MAX_ASPECT_HEADER, MAX_ASPECT_USER = 1.2, 5.0
# Attributes of a DICOM header, the spacing of the detector first.
SPACING_FIELDS = (
    "ImagerPixelSpacing",
    "PixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelMeasuresSequence",
)
UNIT_SCALE = 2.0  # only a scale of 0 to 1, resampled, has its largest values below this
N_SAMPLED = 1 << 16  # approximate number of values that are checked
BULK_SHARE = 0.999  # fraction of the values that must be low, so that a few specks are ignored
# Bright values that may be a background or text, their ratio to the other values, and the number of
# gray levels that a photograph has at least.
MAX_WHITES, MIN_WHITE_RATIO, MIN_LEVELS = 3, 2.0, 16
# Detection of the wrong byte order: sampled rows, mean step relative to the range of the values,
# and how many times smaller the step is in the right order.
BYTE_ORDER_ROWS, MAX_ROUGHNESS, ROUGHNESS_RATIO = 64, 0.02, 4.0

UNUSED_BITS = "the values use fewer bits than the image states"


def check_pixel_um(pixel_um: tuple[float, float], source: str) -> None:
    """Raise InputError for an implausible pixel size (row, column) of the field `source`."""
    row, column = pixel_um
    size = f"{row:g} x {column:g} um ({source})"
    if not (0 < row < float("inf") and 0 < column < float("inf")):
        raise InputError(f"pixel size {size} is invalid: expected two positive numbers, in um")
    if min(row, column) < MIN_UM:
        raise InputError(f"pixel size {size} is below {MIN_UM:g} um: the unit is um, not mm")
    if max(row, column) > MAX_UM:
        raise InputError(f"pixel size {size} is above {MAX_UM:g} um: the unit is um")
    limit = MAX_ASPECT_HEADER if source in SPACING_FIELDS else MAX_ASPECT_USER
    if max(row / column, column / row) > limit * 1.000001:
        raise InputError(
            f"pixel size {size}: rows and columns differ by more than a factor of {limit:g}; give"
            " pixel_um as row;column"
        )


def check_values(stored: StoredImage, bits: int | None) -> tuple[Note, ...]:
    """Return a note if a sample of the values uses only a part of the gray scale of `bits`."""
    sample = _sample(stored)
    if not sample.size:
        return ()
    _check_floats(stored, sample, bits)
    _check_byte_order(stored.values)
    depth = stored.depth
    exclusion, high = _bulk_maximum(sample, 1 << max(depth - 2, 1))
    if depth < 3 or high >= 1 << (depth - 2):
        return ()
    used = max(int(high).bit_length(), 1)
    detail = f"{100 * BULK_SHARE:g}% of the values{exclusion} fit {used} of {depth} bits: "
    if stored.largest >= 1 << used:
        detail += f"if intended, save brighter values as {(1 << used) - 1} and give bits {used}"
    else:
        detail += "if intended, give bits"
    return (Note(UNUSED_BITS, detail),)


def _check_floats(stored: StoredImage, sample: np.ndarray, bits: int | None) -> None:
    if sample.dtype.kind != "f":
        return
    low = float(stored.values.min())
    top = (1 << (bits or stored.bits)) - 1
    if low < 0:
        raise InputError(
            f"its smallest value is {low:g}, but gray is from 0 to {top} for any bits: save it as"
            " stored by the device, or add the same number to every image so that no value is below"
            " 0, and save as uint16"
        )
    high = _bulk_quantile(sample)
    if high <= UNIT_SCALE and bits != 1:
        raise InputError(
            f"its values are floats up to {high:g}, on a scale of 0 to 1 instead of gray levels:"
            f" multiply them by {top}, save as uint16, or give bits 1 for a scale of exactly 0 to 1"
        )


def _check_byte_order(values: np.ndarray) -> None:
    """Raise InputError for 16-bit words that are noise as read and an image with swapped bytes."""
    if values.dtype.kind != "u" or values.itemsize != 2:
        return
    words = values[:: max(len(values) // BYTE_ORDER_ROWS, 1)].astype(np.uint16)
    as_read, swapped = _roughness(words), _roughness(words.byteswap())
    if as_read > MAX_ROUGHNESS and as_read > ROUGHNESS_RATIO * swapped:
        raise InputError(
            "its 16-bit words look like noise, and like an image with their bytes swapped: it was"
            " written in the wrong byte order (PGM stores the high byte first); write it again"
        )


def _roughness(words: np.ndarray) -> float:
    """Return the mean absolute difference of neighbours in a row, relative to the range."""
    low, high = int(words.min()), int(words.max())
    steps = np.abs(np.diff(words.astype(np.int32), axis=1))
    return float(steps.mean()) / (high - low) if steps.size and high > low else 0.0


def _bulk_maximum(sample: np.ndarray, quarter: int) -> tuple[str, float]:
    """Return what is excluded, and the maximum of BULK_SHARE of the other values.

    Up to MAX_WHITES values that are far above all others, such as a white background, are excluded.
    Air behind a detector is not, because the skin has all gray levels in between.
    """
    high = _bulk_quantile(sample)
    if high < quarter:
        return "", high
    counts = np.bincount(np.clip(sample, 0, 65535).astype(np.int64))
    whites = np.argsort(counts[quarter:])[-MAX_WHITES:] + quarter
    whites = whites[counts[whites] / sample.size > 1 - BULK_SHARE]
    other_counts = counts.copy()
    other_counts[whites] = 0
    other_high = float(np.searchsorted(np.cumsum(other_counts), BULK_SHARE * other_counts.sum()))
    # A drawing has few gray levels, and its bright parts are not background.
    is_drawing = np.count_nonzero(other_counts) < MIN_LEVELS
    if is_drawing or not len(whites) or other_high >= quarter:
        return "", high
    if whites.min() < MIN_WHITE_RATIO * max(other_high, 1.0):
        return "", high
    share = 100 * counts[whites].sum() / sample.size
    return f", without {share:.3g}% from {whites.min()} on,", other_high


def _bulk_quantile(sample: np.ndarray) -> float:
    """Return the value that BULK_SHARE of the sample does not exceed."""
    index = min(int(BULK_SHARE * sample.size), sample.size - 1)
    return float(np.partition(sample, index)[index])


def _sample(stored: StoredImage) -> np.ndarray:
    """Return the values (n,) on a coarse grid, without padding."""
    step = int(np.clip((stored.values.size / N_SAMPLED) ** 0.5, 1, 8))
    return stored.without_padding(stored.values[::step, ::step])
