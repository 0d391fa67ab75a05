"""Which bits of a DICOM image's words are gray, where its header and its words disagree.

Rules, in this order; what none of them decides is rejected, as the contrast would be wrong by a
power of two:

- A compressed stream of fewer bits than BitsStored says: the stream is right.
- HighBit below BitsStored - 1: HighBit is right where all values fit below it.
- Bits used above HighBit: cleared where an overlay explains them, where they are the same in all
  words, or where the image goes on below them (not of a stream).
- HighBit above BitsStored - 1: the words move down where only the upper bits are used; HighBit is
  wrong where only the lower bits are.
"""

from typing import NamedTuple

import numpy as np

from mtl_jax.types import InputError, Note

STREAM_FEWER = "BitsStored is more than the bits of the compressed frame: the frame's are taken"
STREAM_MORE = "the compressed frame states more bits than BitsStored, which its values fit"
HIGH_BIT_LOW = "BitsStored is more than HighBit allows: HighBit + 1 is taken"
HIGH_BIT_WRONG = "HighBit is more than the values use: BitsStored - 1 is taken"
MOVED = "the values end at HighBit and start above bit 0: moved down"
OVERLAY = "bits outside of BitsStored hold an overlay: cleared"
CLEARED = "bits above HighBit hold no gray: cleared"
CURE = "correct BitsStored and HighBit in the header, or export it again"


class HeaderBits(NamedTuple):
    """What the header says: BitsStored, HighBit, the bits of a compressed frame (None: it is not
    compressed), the bits, as a number, in which overlays lie, and PixelPaddingValue."""

    bits: int
    high: int
    stream: int | None = None
    overlays: int = 0
    padding: int | None = None


class GrayValues(NamedTuple):
    """Values (H, W) from 0 to 2^bits - 1, the place of their highest bit, and notes."""

    values: np.ndarray
    bits: int
    high: int
    notes: tuple[Note, ...]


def extract_gray(words: np.ndarray, said: HeaderBits) -> GrayValues:
    """Return the gray in `words` (H, W), uint8 or uint16 as decoded. InputError: nobody can tell
    which bits are gray."""
    bits, high, stream, _, _ = said
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
            raise InputError(f"BitsStored {bits}, HighBit {high}, and values of both: {CURE}")
        notes.append(Note(HIGH_BIT_LOW, f"{high + 1} bits of {bits}", corrected=True))
        bits = high + 1
    if stream is not None and stream > high + 1 and used.bit_length() <= high + 1:
        notes.append(Note(STREAM_MORE, f"{stream} bits, BitsStored {bits}"))
    if used >> (high + 1):
        words, note = _clear(words, used, said._replace(bits=bits, high=high))
        notes.append(note)
        used &= (2 << high) - 1
    if high > bits - 1 and used:
        words, high, note = _place(words, used, said._replace(bits=bits, high=high))
        notes.append(note)
    return GrayValues(words, bits, high, tuple(notes))


def _clear(words: np.ndarray, used: int, said: HeaderBits) -> tuple[np.ndarray, Note]:
    """The words without the bits above HighBit."""
    mask = (2 << said.high) - 1
    extra = used & ~mask
    detail = f"bits {said.high + 1} to {used.bit_length() - 1}"
    if not extra & ~said.overlays:
        return words & words.dtype.type(mask), Note(OVERLAY, detail)
    if said.stream is not None:
        raise InputError("its pixels do not have the bits that its header says: " + CURE)
    if said.padding is not None and said.padding > mask and (words == said.padding).any():
        raise InputError(f"PixelPaddingValue {said.padding} does not fit {said.high + 1} bits")
    always = int(np.bitwise_and.reduce(words.ravel())) & ~mask
    if always != extra and _goes_on(words, mask):
        raise InputError(
            f"its values go on above HighBit {said.high} (BitsStored {said.bits}): {CURE}"
        )
    return words & words.dtype.type(mask), Note(CLEARED, detail)


def _goes_on(words: np.ndarray, mask: int) -> bool:
    """Whether bits above the mask belong to the numbers: where they change from one pixel to the
    next, the whole words mostly change less than their lower bits do, which wrap around."""
    keep, with_them, without = words.dtype.type(mask), 0, 0
    for first, second in (
        (words[::8, :-1], words[::8, 1:]),
        (words[:-1, ::8], words[1:, ::8]),
    ):
        whole = np.abs(second.astype(np.int32) - first)
        low = np.abs((second & keep).astype(np.int32) - (first & keep))
        crossing = (first & ~keep) != (second & ~keep)
        with_them += int((whole < low)[crossing].sum())
        without += int((whole > low)[crossing].sum())
    return with_them > without


def _place(words: np.ndarray, used: int, said: HeaderBits) -> tuple[np.ndarray, int, Note]:
    """The words moved down, or as they are, where HighBit is above BitsStored - 1."""
    shift = said.high + 1 - said.bits
    below = used & ((1 << shift) - 1)
    above = used >> said.bits
    overlaid = below and not below & ~said.overlays
    if above and (not below or overlaid):
        note = Note(OVERLAY, f"bits 0 to {shift - 1}") if overlaid else Note(MOVED, f"by {shift}")
        return words >> shift, said.high, note
    if below and not above:
        detail = f"HighBit {said.high}, BitsStored {said.bits}"
        return words, said.bits - 1, Note(HIGH_BIT_WRONG, detail, corrected=True)
    what = "upper and lower" if above else "neither the upper nor the lower"
    raise InputError(
        f"HighBit {said.high} does not belong to BitsStored {said.bits}, and {what} bits are"
        f" used: {CURE}"
    )
