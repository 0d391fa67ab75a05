"""Modality look-up tables of DICOM headers, and whether they speak of the values of an image."""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_first_item
from mtl_jax.types import InputError, Note

# The share of an image that may lie beyond the ends of its table, one value at each end aside: a
# background or burnt-in text may have a value of its own.
MAX_CLIPPED = 0.01

OTHER_BITS = (
    "the look-up table's entries have other bits than its descriptor says: the data is read"
)
BEYOND = "values beyond the ends of the look-up table take its end entries"


def apply_lut(
    item: Dataset, levels: np.ndarray, big_endian: bool
) -> tuple[np.ndarray, tuple[Note, ...]]:
    """Return the entries for the levels, those beyond the table's ends taking its ends (PS3.3
    C.11.1.1), and notes.

    Whether an entry has 8 or 16 bits is told by the length of the data: the third number of the
    descriptor is wrong in many files. InputError: the length is that of neither.
    """
    stated, first, bits = (int(number) for number in item.LUTDescriptor)
    entries, notes = _entries(item.LUTData, stated or 65536, big_endian), ()
    if int(entries.max()) >= 1 << bits or (entries.itemsize == 1 and bits > 8):
        detail = f"{bits} bits said, {8 * entries.itemsize} stored"
        notes = (Note(OTHER_BITS, f"{detail}, largest entry {entries.max()}"),)
    places = np.clip(levels.astype(int) - first, 0, len(entries) - 1)
    return entries[places].astype(np.float64), notes


def clipping_notes(header: Dataset, values: np.ndarray, padding: slice) -> tuple[Note, ...]:
    """A note where stored values (H, W), padding aside, lie beyond the ends of the modality
    look-up table, which then makes them equal. InputError: so many that the image is flattened."""
    item = get_first_item(header, "ModalityLUTSequence")
    if not len(item):
        return ()
    try:
        stated, first, _ = (int(number) for number in item.LUTDescriptor)
    except (AttributeError, TypeError, ValueError):
        return ()  # `apply_lut` says what is wrong with it
    last = first + (stated or 65536) - 1
    counts = np.bincount(values.ravel())
    counts[padding] = 0
    ends = [counts[: max(first, 0)], counts[last + 1 :]]
    beyond = sum(int(end.sum()) for end in ends)
    if not beyond:
        return ()
    present = np.flatnonzero(counts)
    detail = f"{first} to {last}; values from {present[0]} to {present[-1]}"
    flattened = beyond - sum(int(end.max(initial=0)) for end in ends)
    if flattened > MAX_CLIPPED * counts.sum():
        raise InputError(
            f"its look-up table is of values {detail}, so that {100 * beyond / counts.sum():.3g}%"
            " of its pixels would become equal: correct the table in the header, or export the"
            " image again"
        )
    return (Note(BEYOND, f"{detail}; {100 * beyond / counts.sum():.3g}% of the pixels"),)


def _entries(data: Any, count: int, big_endian: bool) -> np.ndarray:
    """The entries (count,), uint8 or uint16, of data as bytes or as a list of words."""
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2")
    else:
        words = np.atleast_1d(np.asarray(data, np.int64)).astype(np.uint16)
    if len(words) == count:
        return words.astype(np.uint16)
    if len(words) == (count + 1) // 2:
        # Two entries a word, the first in its lower byte.
        return words.astype("<u2").view(np.uint8)[:count]
    raise InputError(
        f"its look-up table has {count} entries, but data of {2 * len(words)} bytes is neither 8"
        " nor 16 bits for each"
    )
