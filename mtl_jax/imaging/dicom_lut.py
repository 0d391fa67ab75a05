"""Apply modality look-up tables of DICOM headers and check that they fit the stored values."""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_first_item
from mtl_jax.types import InputError, Note

# Largest fraction of pixels beyond the ends of the table, without the most frequent value at each
# end, which may be a background or burnt-in text.
MAX_CLIPPED = 0.01

OTHER_BITS = "LUTDescriptor states another bit depth than LUTData: the bit depth of LUTData is used"
BEYOND = "values beyond the ends of the look-up table are mapped to its end entries"


def apply_lut(
    item: Dataset, levels: np.ndarray, big_endian: bool
) -> tuple[np.ndarray, tuple[Note, ...]]:
    """Return the entries for the `levels` (n,), clipped to the ends of the table, and notes.

    `item` is one of ModalityLUTSequence (DICOM PS3.3 C.11.1.1). The length of the data decides
    whether an entry has 8 or 16 bits: the third number of the descriptor is wrong in many files.
    """
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    entries, notes = _read_entries(item.LUTData, count or 65536, big_endian), ()
    if int(entries.max()) >= 1 << bits or (entries.itemsize == 1 and bits > 8):
        detail = f"{bits} bits stated, {8 * entries.itemsize} stored"
        notes = (Note(OTHER_BITS, f"{detail}, largest entry {entries.max()}"),)
    indices = np.clip(levels.astype(int) - first, 0, len(entries) - 1)
    return entries[indices].astype(np.float64), notes


def clipping_notes(header: Dataset, values: np.ndarray, padding: slice) -> tuple[Note, ...]:
    """Return a note on values (H, W) beyond the ends of the modality look-up table."""
    item = get_first_item(header, "ModalityLUTSequence")
    if not len(item):
        return ()
    try:
        count, first, _ = (int(number) for number in item.LUTDescriptor)
    except (AttributeError, TypeError, ValueError):
        return ()  # `apply_lut` raises the error
    last = first + (count or 65536) - 1
    counts = np.bincount(values.ravel())
    counts[padding] = 0
    ends = [counts[: max(first, 0)], counts[last + 1 :]]
    n_beyond = sum(int(end.sum()) for end in ends)
    if not n_beyond:
        return ()
    present = np.flatnonzero(counts)
    detail = f"{first} to {last}; values from {present[0]} to {present[-1]}"
    percent = f"{100 * n_beyond / counts.sum():.3g}%"
    n_flattened = n_beyond - sum(int(end.max(initial=0)) for end in ends)
    if n_flattened > MAX_CLIPPED * counts.sum():
        raise InputError(
            f"its look-up table covers the values {detail}: {percent} of its pixels would become"
            " equal; correct the table in the header, or export the image again"
        )
    return (Note(BEYOND, f"{detail}; {percent} of the pixels"),)


def _read_entries(data: Any, count: int, big_endian: bool) -> np.ndarray:
    """Return the entries (count,), uint8 or uint16, of LUTData as bytes or as words."""
    if isinstance(data, bytes):
        words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2")
    else:
        words = np.atleast_1d(np.asarray(data, np.int64)).astype(np.uint16)
    if len(words) == count:
        return words.astype(np.uint16)
    if len(words) == (count + 1) // 2:
        # Two entries per word, the first in the lower byte.
        return words.astype("<u2").view(np.uint8)[:count]
    raise InputError(
        f"its look-up table has {count} entries, but data of {2 * len(words)} bytes is neither 8"
        " nor 16 bits for each; export it again"
    )
