"""The padding of a DICOM image: which stored values are no image, and what they become.

The header names them; whether they can be padding is checked against the values that are there,
as a wrong PixelPaddingValue would make holes of the darkest gray in tissue.
"""

import numpy as np
from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_int, get_value
from mtl_jax.types import InputError, Note

# Least share of an image that padding takes, beyond and within the gray values of the rest.
LEAST, LEAST_WITHIN = 0.001, 0.01
SPIKE, AROUND = 20, 16  # how many times as frequent as the values around it, that many each way
LEAST_REST = 0.02  # of an image is breast: a range of padding that leaves less is none

NO_PADDING = "PixelPaddingValue is a gray value of the image: not taken for padding"
BRIGHT = "padding is brighter than the image: taken for padding"
OUTSIDE = "PixelPaddingValue is no value that BitsStored holds: there is no padding"
NO_RANGE = "the range of padding holds gray values of the image: not taken for padding"
RANGE = "padding is a range of stored values"


def get_padding_range(header: Dataset, levels: int) -> slice:
    """The stored values that are no image, by PixelPaddingValue and PixelPaddingRangeLimit.

    Empty where there are none, or where they lie outside the stored values.
    """
    if get_value(header, "PixelPaddingValue") is None:
        return slice(0, 0)
    first = get_int(header, "PixelPaddingValue")
    last = get_int(header, "PixelPaddingRangeLimit", absent=first)
    low, high = max(min(first, last), 0), min(max(first, last), levels - 1)
    return slice(low, high + 1) if low <= high else slice(0, 0)


def outside_notes(header: Dataset, bits: int) -> tuple[Note, ...]:
    """A note where the padding lies outside the stored values."""
    if get_value(header, "PixelPaddingValue") is None or get_padding_range(header, 1 << bits).stop:
        return ()
    return (Note(OUTSIDE, f"{get_int(header, 'PixelPaddingValue')}, {bits} bits"),)


def fill_padding(
    table: np.ndarray, padding: slice, counts: np.ndarray
) -> tuple[np.ndarray, slice, tuple[Note, ...]]:
    """Give padding the least density of the rest, in place, where it can be padding.

    `counts` are the pixels of each stored value. Returns the other values present, the padding
    that was taken, and notes. InputError: nothing else is there.
    """
    real = counts > 0
    real[padding] = False
    present = np.flatnonzero(real)
    if not len(present):
        raise InputError("all its pixels are padding")
    pixels = int(counts[padding].sum())
    if not pixels:
        return present, padding, ()
    notes, detail = (), f"{_shown(padding)}, {100 * pixels / counts.sum():.3g}% of the pixels"
    values = int((counts[padding] > 0).sum())
    if values > 1 and not _can_be_range(padding, counts):
        return np.flatnonzero(counts), slice(0, 0), (Note(NO_RANGE, detail, corrected=True),)
    if table[padding].max() > table[present].min():
        if not _can_be(padding, counts, present):
            return np.flatnonzero(counts), slice(0, 0), (Note(NO_PADDING, detail, corrected=True),)
        notes += (Note(BRIGHT, detail),)
    if values > 1:
        notes += (Note(RANGE, f"{_shown(padding)}, {values} of them present"),)
    table[padding] = table[present].min()
    return present, padding, notes


def _can_be(padding: slice, counts: np.ndarray, present: np.ndarray) -> bool:
    """Whether padding that is not the darkest of all takes enough pixels to be one."""
    share = counts[padding].sum() / counts.sum()
    if present[-1] < padding.start or present[0] >= padding.stop:
        return bool(share >= LEAST)
    place = int(np.searchsorted(present, padding.start))
    others = counts[present[max(place - AROUND, 0) : place + AROUND]].mean()
    mean = counts[padding].sum() / (padding.stop - padding.start)
    return bool(share >= LEAST_WITHIN and mean > SPIKE * others)


def _can_be_range(padding: slice, counts: np.ndarray) -> bool:
    """Whether a range of values is apart from the gray of the image: enough is left, and fewer
    pixels than there have on average are on both sides of one of its ends."""
    rest = counts.copy()
    rest[padding] = 0
    if rest.sum() < LEAST_REST * counts.sum():
        return False
    first, last = np.flatnonzero(rest)[[0, -1]]
    mean = rest.sum() / (last - first + 1)
    for end, there in ((padding.start, first < padding.start), (padding.stop, last > padding.stop)):
        sides = counts[max(end - AROUND, 0) : end], counts[end : end + AROUND]
        if there and min(side.mean() for side in sides) > mean:
            return False
    return True


def _shown(padding: slice) -> str:
    last = padding.stop - 1
    return f"{padding.start}" if last == padding.start else f"{padding.start} to {last}"
