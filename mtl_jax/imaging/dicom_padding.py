"""Determine which stored values of a DICOM image are padding, and fill them.

The padding of the header is checked against the pixels, because a wrong PixelPaddingValue would
turn tissue into holes of the lowest gray value.
"""

import numpy as np
from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_int, get_value
from mtl_jax.types import InputError, Note

# Smallest fraction of pixels that is padding, outside and inside the gray values of the image.
MIN_SHARE, MIN_SHARE_INSIDE = 0.001, 0.01
SPIKE_RATIO, N_NEIGHBOURS = 20, 16  # frequency of padding relative to that many values on each side
MIN_IMAGE_SHARE = 0.02  # a padding range that leaves fewer pixels to the image is not padding

NO_PADDING = "PixelPaddingValue is a gray value of the image: not treated as padding"
BRIGHT = "PixelPaddingValue is brighter than the image: treated as padding"
OUTSIDE = "PixelPaddingValue does not fit BitsStored: there is no padding"
NO_RANGE = "the padding range contains gray values of the image: not treated as padding"
RANGE = "padding is a range of several stored values"


def get_padding_range(header: Dataset, levels: int) -> slice:
    """Return the padding of the header as a slice of stored values, empty if there is none."""
    if get_value(header, "PixelPaddingValue") is None:
        return slice(0, 0)
    first = get_int(header, "PixelPaddingValue")
    last = get_int(header, "PixelPaddingRangeLimit", default=first)
    low, high = max(min(first, last), 0), min(max(first, last), levels - 1)
    return slice(low, high + 1) if low <= high else slice(0, 0)


def outside_notes(header: Dataset, bits: int) -> tuple[Note, ...]:
    """Return a note if the padding is outside the stored values."""
    if get_value(header, "PixelPaddingValue") is None or get_padding_range(header, 1 << bits).stop:
        return ()
    return (Note(OUTSIDE, f"{get_int(header, 'PixelPaddingValue')}, {bits} bits"),)


def fill_padding(
    table: np.ndarray, padding: slice, counts: np.ndarray
) -> tuple[np.ndarray, slice, tuple[Note, ...]]:
    """Set padding to the lowest gray value of the image, in place, if it can be padding.

    `table` (n,) holds the gray and `counts` (n,) the number of pixels of each stored value. Returns
    the other values that are present, the padding that was applied, and notes.
    """
    is_image = counts > 0
    is_image[padding] = False
    present = np.flatnonzero(is_image)
    if not len(present):
        raise InputError("all its pixels are padding: correct PixelPaddingValue in the header")
    n_pixels = int(counts[padding].sum())
    if not n_pixels:
        return present, padding, ()
    notes: tuple[Note, ...] = ()
    detail = f"{_format_range(padding)}, {100 * n_pixels / counts.sum():.3g}% of the pixels"
    n_values = int((counts[padding] > 0).sum())
    if n_values > 1 and not _is_plausible_range(padding, counts):
        return np.flatnonzero(counts), slice(0, 0), (Note(NO_RANGE, detail, corrected=True),)
    if table[padding].max() > table[present].min():
        if not _is_plausible(padding, counts, present):
            return np.flatnonzero(counts), slice(0, 0), (Note(NO_PADDING, detail, corrected=True),)
        notes += (Note(BRIGHT, detail),)
    if n_values > 1:
        notes += (Note(RANGE, f"{_format_range(padding)}, {n_values} of them present"),)
    table[padding] = table[present].min()
    return present, padding, notes


def _is_plausible(padding: slice, counts: np.ndarray, present: np.ndarray) -> bool:
    """Return whether padding that is not the lowest gray has enough pixels to be padding."""
    share = counts[padding].sum() / counts.sum()
    if present[-1] < padding.start or present[0] >= padding.stop:
        return bool(share >= MIN_SHARE)
    index = int(np.searchsorted(present, padding.start))
    neighbours = counts[present[max(index - N_NEIGHBOURS, 0) : index + N_NEIGHBOURS]].mean()
    mean = counts[padding].sum() / (padding.stop - padding.start)
    return bool(share >= MIN_SHARE_INSIDE and mean > SPIKE_RATIO * neighbours)


def _is_plausible_range(padding: slice, counts: np.ndarray) -> bool:
    """Return whether a padding range is separate from the gray of the image.

    At an end inside the gray of the image, one side of the end must have at most the mean number of
    pixels per value of the image.
    """
    image_counts = counts.copy()
    image_counts[padding] = 0
    if image_counts.sum() < MIN_IMAGE_SHARE * counts.sum():
        return False
    first, last = np.flatnonzero(image_counts)[[0, -1]]
    mean = image_counts.sum() / (last - first + 1)
    for end, inside in (
        (padding.start, first < padding.start),
        (padding.stop, last > padding.stop),
    ):
        sides = counts[max(end - N_NEIGHBOURS, 0) : end], counts[end : end + N_NEIGHBOURS]
        if inside and min(side.mean() for side in sides) > mean:
            return False
    return True


def _format_range(padding: slice) -> str:
    last = padding.stop - 1
    return f"{padding.start}" if last == padding.start else f"{padding.start} to {last}"
