"""Decide which bits of the stored words are gray if a DICOM header and its words disagree.

The rules apply in this order. An image that none of them decides is rejected, because its contrast
would be wrong by a power of two.

- A compressed frame of fewer bits than BitsStored: the bits of the frame are used.
- HighBit below BitsStored - 1: HighBit is correct if all values fit below it.
- Bits used above HighBit: cleared if they hold an overlay, if they are the same in all words, or if
  the gray values do not continue in them (never in a compressed frame).
- HighBit above BitsStored - 1: the words are shifted down if only the upper bits are used; HighBit
  is wrong if only the lower bits are used.
"""

from typing import NamedTuple

import numpy as np

from mtl_jax.types import InputError, Note

STREAM_FEWER = "BitsStored exceeds the bits of the compressed frame: the frame's bits are used"
STREAM_MORE = "the compressed frame states more bits than BitsStored, but its values fit BitsStored"
HIGH_BIT_LOW = "BitsStored exceeds HighBit + 1: HighBit + 1 is used"
HIGH_BIT_WRONG = "HighBit exceeds the bits that the values use: BitsStored - 1 is used"
SHIFTED = "the values end at HighBit and start above bit 0: shifted down"
OVERLAY = "the bits outside BitsStored hold an overlay: cleared"
CLEARED = "the bits above HighBit hold no gray: cleared"
CURE = "correct BitsStored and HighBit in the header, or export the image again"


class HeaderBits(NamedTuple):
    """BitsStored, HighBit, the bits of a compressed frame (None if it is not compressed), a bit
    mask of the overlays, and PixelPaddingValue."""

    bits: int
    high: int
    stream: int | None = None
    overlays: int = 0
    padding: int | None = None


class GrayValues(NamedTuple):
    """Values (H, W) from 0 to 2^bits - 1, the position of their highest bit, and notes."""

    values: np.ndarray
    bits: int
    high: int
    notes: tuple[Note, ...]


def extract_gray(words: np.ndarray, header: HeaderBits) -> GrayValues:
    """Return the gray in `words` (H, W), uint8 or uint16 as decoded, or raise InputError."""
    bits, high, stream, _, _ = header
    notes: list[Note] = []
    used = int(np.bitwise_or.reduce(words.ravel()))
    if stream is not None and stream < bits:
        notes.append(Note(STREAM_FEWER, f"{stream} bits of {bits}", corrected=True))
        bits, high = stream, stream - 1
    elif stream is not None and stream <= high:
        notes.append(Note(HIGH_BIT_WRONG, f"HighBit {high}, {stream} bits", corrected=True))
        high = bits - 1
    if high < bits - 1:
        if used.bit_length() > high + 1:
            raise InputError(
                f"BitsStored {bits} and HighBit {high} contradict each other, and its values exceed"
                f" HighBit: {CURE}"
            )
        notes.append(Note(HIGH_BIT_LOW, f"{high + 1} bits of {bits}", corrected=True))
        bits = high + 1
    if stream is not None and stream > high + 1 and used.bit_length() <= high + 1:
        notes.append(Note(STREAM_MORE, f"{stream} bits, BitsStored {bits}"))
    if used >> (high + 1):
        words, note = _clear_upper_bits(words, used, header._replace(bits=bits, high=high))
        notes.append(note)
        used &= (2 << high) - 1
    if high > bits - 1 and used:
        words, high, note = _align(words, used, header._replace(bits=bits, high=high))
        notes.append(note)
    return GrayValues(words, bits, high, tuple(notes))


def _clear_upper_bits(words: np.ndarray, used: int, header: HeaderBits) -> tuple[np.ndarray, Note]:
    """Return the words without the bits above HighBit."""
    mask = (2 << header.high) - 1
    extra = used & ~mask
    detail = f"bits {header.high + 1} to {used.bit_length() - 1}"
    if not extra & ~header.overlays:
        return words & words.dtype.type(mask), Note(OVERLAY, detail)
    if header.stream is not None:
        raise InputError(f"the values of its compressed frame exceed HighBit: {CURE}")
    if header.padding is not None and header.padding > mask and (words == header.padding).any():
        raise InputError(
            f"PixelPaddingValue {header.padding} does not fit {header.high + 1} bits: {CURE}"
        )
    always_set = int(np.bitwise_and.reduce(words.ravel())) & ~mask
    if always_set != extra and _continues_above(words, mask):
        raise InputError(
            f"its values continue above HighBit {header.high} (BitsStored {header.bits}): {CURE}"
        )
    return words & words.dtype.type(mask), Note(CLEARED, detail)


def _continues_above(words: np.ndarray, mask: int) -> bool:
    """Return whether the bits above the mask belong to the values.

    If so, the whole word usually changes less between neighbours than its lower bits, which wrap.
    """
    mask_word, n_smoother, n_rougher = words.dtype.type(mask), 0, 0
    for first, second in (
        (words[::8, :-1], words[::8, 1:]),
        (words[:-1, ::8], words[1:, ::8]),
    ):
        word_step = np.abs(second.astype(np.int32) - first)
        low_step = np.abs((second & mask_word).astype(np.int32) - (first & mask_word))
        crossing = (first & ~mask_word) != (second & ~mask_word)
        n_smoother += int((word_step < low_step)[crossing].sum())
        n_rougher += int((word_step > low_step)[crossing].sum())
    return n_smoother > n_rougher


def _align(words: np.ndarray, used: int, header: HeaderBits) -> tuple[np.ndarray, int, Note]:
    """Return the words, shifted down if needed, and their highest bit; HighBit is too high."""
    shift = header.high + 1 - header.bits
    lower_bits = used & ((1 << shift) - 1)
    upper_bits = used >> header.bits
    overlay_below = lower_bits and not lower_bits & ~header.overlays
    if upper_bits and (not lower_bits or overlay_below):
        overlay, shifted = Note(OVERLAY, f"bits 0 to {shift - 1}"), Note(SHIFTED, f"by {shift}")
        return words >> shift, header.high, overlay if overlay_below else shifted
    if lower_bits and not upper_bits:
        detail = f"HighBit {header.high}, BitsStored {header.bits}"
        return words, header.bits - 1, Note(HIGH_BIT_WRONG, detail, corrected=True)
    used_bits = "upper and lower" if upper_bits else "neither the upper nor the lower"
    raise InputError(
        f"HighBit {header.high} contradicts BitsStored {header.bits}, and {used_bits} bits are"
        f" used: {CURE}"
    )
