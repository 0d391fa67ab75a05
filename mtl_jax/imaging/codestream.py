"""The size and kind that a compressed frame states in its own header. Decodes no pixel.

Decoders in C allocate what this header says, and one aborts the whole process on a header that it
does not like, so it is read here first and must agree with the DICOM header.
"""

from dataclasses import dataclass

from mtl_jax.nouns import InputError

# Start-of-frame markers of each family, and the other segments that its gray images need.
JPEG = {0xC0: "baseline", 0xC1: "extended", 0xC3: "lossless", 0xF7: "JPEG-LS"}
TABLES = (0xC4, 0xDB, 0xDD)  # Huffman, quantization, restart interval
IGNORED = (*range(0xE0, 0xF0), 0xFE)  # application data, comment
NO_LENGTH = (0x01, *range(0xD0, 0xD8))
J2K_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class Stream:
    """Rows, columns and bits a sample as the stream says, its kind, and the stream made plain."""

    rows: int
    columns: int
    bits: int
    kind: str
    data: bytes


def parse_jpeg(data: bytes) -> Stream:
    """The header of one JPEG or JPEG-LS gray image; `data` keeps only the segments that count.

    InputError: it is damaged, of another process, or has more than one component.
    """
    if data[:2] != b"\xff\xd8":
        raise InputError("its compressed frame is not JPEG")
    kept, frame, tables, at = [b"\xff\xd8"], None, 0, 2
    while True:
        while data[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 4 > len(data) or data[at] != 0xFF:
            raise InputError("the header of its JPEG frame is damaged or cut short")
        marker = data[at + 1]
        if marker in NO_LENGTH:
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        payload = data[at + 4 : end]
        if end > len(data) or end < at + 4:
            raise InputError("the header of its JPEG frame is damaged or cut short")
        if marker in JPEG and frame is None:
            frame = _frame(marker, payload)
        elif marker == 0xDA and frame is not None:
            break
        elif marker == 0xC4:
            tables += _huffman_tables(payload)
        elif marker == 0xF8 and payload[:1] == b"\x01" and len(payload) == 11:
            pass  # JPEG-LS thresholds
        elif marker not in (*TABLES, *IGNORED):
            raise InputError(f"its JPEG frame is of a kind that is not read (marker {marker:02X})")
        if marker not in IGNORED:
            kept.append(data[at:end])
        at = end
    _check_scan(frame[3], payload, tables)
    return Stream(*frame, b"".join(kept) + data[at:])


def _frame(marker: int, payload: bytes) -> tuple[int, int, int, str]:
    if len(payload) != 9 or payload[5] != 1:
        raise InputError("its JPEG frame is not of one gray component")
    rows, columns = int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big")
    return rows, columns, payload[0], JPEG[marker]


def _huffman_tables(payload: bytes) -> int:
    """How many tables the segment holds; each is a class, 16 counts and as many symbols."""
    found, at = 0, 0
    while at < len(payload):
        counts = payload[at + 1 : at + 17]
        size = 17 + sum(counts)
        codes = sum(count << (16 - length) for length, count in enumerate(counts, 1))
        if payload[at] not in (0, 1, 2, 3, 16, 17, 18, 19) or codes > 65536:
            raise InputError("a Huffman table of its JPEG frame is damaged")
        at += size
        found += 1
    if at != len(payload):
        raise InputError("a Huffman table of its JPEG frame is damaged")
    return found


def _check_scan(kind: str, payload: bytes, tables: int) -> None:
    lossless = kind == "lossless"
    if len(payload) != 6 or payload[0] != 1:
        raise InputError("the scan of its JPEG frame is damaged")
    if lossless and not (1 <= payload[3] <= 7 and payload[4] == 0 and payload[5] < 16 and tables):
        raise InputError("the scan of its JPEG Lossless frame is damaged")


def parse_jpeg2000(data: bytes) -> Stream:
    """The header of one JPEG 2000 gray image, which may stand in a JP2 file.

    InputError: it is damaged or has more than one component.
    """
    at = data.find(J2K_START, 0, 4096)
    size = data[at + 4 : at + 45]
    if at < 0 or len(size) < 41:
        raise InputError("its compressed frame is not JPEG 2000")
    right, bottom, left, top = (int.from_bytes(size[k : k + 4], "big") for k in (4, 8, 12, 16))
    components, depth = int.from_bytes(size[36:38], "big"), size[38]
    if components != 1 or size[39:41] != b"\1\1":
        raise InputError("its JPEG 2000 frame is not of one gray component")
    return Stream(bottom - top, right - left, (depth & 0x7F) + 1, "JPEG 2000", data[at:])
