"""Parse the header of a JPEG, JPEG-LS or JPEG 2000 codestream before it is decoded.

Decoders allocate the size that this header states, whatever the DICOM header states, and silently
fill in data that is missing at the end. Size and end are therefore checked first.
"""

from dataclasses import dataclass

from mtl_jax.types import InputError

PROCESSES = {0xC0: "baseline", 0xC1: "extended", 0xC3: "lossless", 0xF7: "JPEG-LS"}
OTHER_PROCESSES = (0xC2, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
SCAN = 0xDA
J2K_START = b"\xff\x4f\xff\x51"
END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000; it cannot occur in a scan
TRUNCATED = "its compressed frame is damaged or cut short; fetch or export it again"


@dataclass(frozen=True)
class StreamHeader:
    """Rows, columns, bits per sample and coding process of a codestream."""

    rows: int
    columns: int
    bits: int
    kind: str


def parse_jpeg(data: bytes) -> StreamHeader:
    """Return the header of one JPEG or JPEG-LS gray image (ITU-T T.81 annex B)."""
    if data[:2] != b"\xff\xd8":
        raise InputError("its compressed frame is not JPEG; export it again")
    offset, stream = 2, None
    while True:
        segment = read_segment(data, offset)
        if segment is None:
            raise InputError(TRUNCATED)
        marker, body, offset = segment
        if marker == SCAN:
            break
        if marker in OTHER_PROCESSES:
            raise InputError(
                "its compressed frame is of a JPEG process that DICOM has retired; export it again"
            )
        if marker in PROCESSES:
            stream = _parse_frame_header(PROCESSES[marker], body)
    if stream is None or data.rfind(END, offset) < 0:
        raise InputError(TRUNCATED)
    return stream


def read_segment(data: bytes, offset: int) -> tuple[int, bytes, int] | None:
    """Return marker and body of a JPEG segment, and the next offset; None if it is damaged."""
    while data[offset : offset + 2] == b"\xff\xff":  # fill bytes
        offset += 1
    length = int.from_bytes(data[offset + 2 : offset + 4])
    end = offset + 2 + length
    if data[offset : offset + 1] != b"\xff" or length < 2 or end > len(data):
        return None
    return data[offset + 1], data[offset + 4 : end], end


def parse_jpeg2000(data: bytes) -> StreamHeader:
    """Return the header of one JPEG 2000 gray image, maybe in a JP2 file (ITU-T T.800 annex A)."""
    offset = data.find(J2K_START, 0, 4096)
    size = data[offset + 4 : offset + 45]
    if offset < 0 or len(size) < 41 or data.rfind(END, offset) < 0:
        raise InputError(TRUNCATED)
    right, bottom, left, top = (int.from_bytes(size[k : k + 4], "big") for k in (4, 8, 12, 16))
    if size[36:38] != b"\0\1" or size[39:41] != b"\1\1":
        raise InputError("its compressed frame is not of one gray component; export it again")
    return StreamHeader(bottom - top, right - left, (size[38] & 0x7F) + 1, "JPEG 2000")


def _parse_frame_header(kind: str, segment: bytes) -> StreamHeader:
    if len(segment) != 9 or segment[5] != 1:
        raise InputError("its compressed frame is not of one gray component; export it again")
    rows, columns = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    return StreamHeader(rows, columns, segment[0], kind)
