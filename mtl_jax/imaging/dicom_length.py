"""Check the number of frames in the pixel data of a DICOM file against its header.

Decoders read the first frames and silently ignore further ones.
"""

import io

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets, parse_fragments

from mtl_jax.types import InputError, Note

EXCESS = "the pixel data is longer than its frames: the excess is ignored"
STREAM_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")  # JPEG, J2K, JP2


def frame_bytes(header: Dataset) -> int:
    """Return the bytes of one uncompressed frame of one sample per pixel."""
    return header.Rows * header.Columns * header.BitsAllocated // 8


def check_length(header: Dataset, syntax: uid.UID, frames: int) -> tuple[Note, ...]:
    """Return a note on excess bytes. Raises InputError if there are more frames than `frames`."""
    if header["PixelData"].is_undefined_length:
        n_frames = _compressed_frames(header, syntax, frames)
        excess = 0
    else:
        size = frame_bytes(header)
        n_frames = len(header.PixelData) // size
        excess = len(header.PixelData) - frames * size - frames * size % 2
    if n_frames > frames:
        raise InputError(
            f"its pixel data holds {n_frames} frames, its NumberOfFrames is {frames}: correct"
            " NumberOfFrames, or export it again"
        )
    return (Note(EXCESS, f"{excess} bytes"),) if excess > 0 else ()


def _compressed_frames(header: Dataset, syntax: uid.UID, frames: int) -> int:
    """Return the number of frames by the offset tables, else by the fragments, else `frames`."""
    extended = header.get("ExtendedOffsetTable")
    if extended:
        return len(extended) // 8
    data = header.PixelData
    buffer = io.BytesIO(data)
    try:
        offsets = parse_basic_offsets(buffer)
        if offsets:
            return len(offsets)
        _, items = parse_fragments(buffer)
    except (ValueError, OSError, IndexError):
        return frames
    if syntax == uid.RLELossless:
        return len(items)
    starts = (data[item + 8 : item + 16] for item in items)
    return sum(first.startswith(STREAM_STARTS) for first in starts) or frames
