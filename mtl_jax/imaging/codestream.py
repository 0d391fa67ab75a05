"""The size and kind that a compressed frame states in its own header. Decodes no pixel.

Decoders allocate what this header says, whatever the DICOM header says, and fill in what is
missing at the end without a word; so both are looked at here, before any decoder sees the frame.
"""

from dataclasses import dataclass

from mtl_jax.types import InputError

FRAMES = {0xC0: "baseline", 0xC1: "extended", 0xC3: "lossless", 0xF7: "JPEG-LS"}
OTHER_FRAMES = (0xC2, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
SCAN = 0xDA
J2K_START = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike; it cannot occur within a scan
CUT_SHORT = "its compressed frame is damaged or cut short; fetch or export it again"


@dataclass(frozen=True)
class StreamHeader:
    """Rows, columns and bits a sample as the stream says, and its kind."""

    rows: int
    columns: int
    bits: int
    kind: str


def parse_jpeg(data: bytes) -> StreamHeader:
    """The header of one JPEG or JPEG-LS gray image (ITU-T T.81 annex B).

    InputError: it is damaged or cut short, of another process, or has several components.
    """
    if data[:2] != b"\xff\xd8":
        raise InputError("its compressed frame is not JPEG")
    at, frame = 2, None
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        marker, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at : at + 1] != b"\xff" or length < 2 or at + 2 + length > len(data):
            raise InputError(CUT_SHORT)
        if marker[0] == SCAN:
            break
        if marker[0] in OTHER_FRAMES:
            raise InputError("its frame is of a kind of JPEG that DICOM no longer has")
        if marker[0] in FRAMES:
            frame = _frame(FRAMES[marker[0]], data[at + 4 : at + 2 + length])
        at += 2 + length
    if frame is None or data.rfind(END, at) < 0:
        raise InputError(CUT_SHORT)
    return frame


def parse_jpeg2000(data: bytes) -> StreamHeader:
    """The header of one JPEG 2000 gray image, which may stand in a JP2 file (ITU-T T.800 annex A).

    InputError: it is damaged or cut short, or has several components.
    """
    at = data.find(J2K_START, 0, 4096)
    size = data[at + 4 : at + 45]
    if at < 0 or len(size) < 41 or data.rfind(END, at) < 0:
        raise InputError(CUT_SHORT)
    right, bottom, left, top = (int.from_bytes(size[k : k + 4], "big") for k in (4, 8, 12, 16))
    if size[36:38] != b"\0\1" or size[39:41] != b"\1\1":
        raise InputError("its compressed frame is not of one gray component")
    return StreamHeader(bottom - top, right - left, (size[38] & 0x7F) + 1, "JPEG 2000")


def _frame(kind: str, segment: bytes) -> StreamHeader:
    if len(segment) != 9 or segment[5] != 1:
        raise InputError("its compressed frame is not of one gray component")
    rows, columns = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    return StreamHeader(rows, columns, segment[0], kind)
