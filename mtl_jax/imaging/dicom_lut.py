"""Modality look-up tables of DICOM headers. Knows no pixel."""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mtl_jax.nouns import InputError, Note

OTHER_BITS = (
    "the look-up table's entries have other bits than its descriptor says: the data is read"
)


def look_up(
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
