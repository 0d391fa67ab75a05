"""Compress gray images as JPEG Lossless (ITU-T T.81, process 14) with any predictor.

The encoder is independent of the decoders under test.
"""

import struct

import numpy as np

# Code lengths of the difference categories 0 to 16: the table of T.81 K.3.1, extended.
LENGTHS = (2, 3, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)


def encode(gray: np.ndarray, bits: int, predictor: int = 1, restart_rows: int = 0) -> bytes:
    """Return the stream of `gray` (H, W); `restart_rows` 0 writes no restart markers."""
    rows, columns = gray.shape
    step = restart_rows or rows
    scans = [
        _entropy(_differences(gray[start : start + step].astype(np.int64), bits, predictor))
        for start in range(0, rows, step)
    ]
    body = scans[0]
    for number, scan in enumerate(scans[1:]):
        body += bytes([0xFF, 0xD0 + number % 8]) + scan
    frame = struct.pack(">BHHBBBB", bits, rows, columns, 1, 1, 0x11, 0)
    counts = bytes(LENGTHS.count(length) for length in range(1, 17))
    table = b"\0" + counts + bytes(range(17))
    parts = [b"\xff\xd8", _segment(0xC3, frame), _segment(0xC4, table)]
    if restart_rows:
        parts.append(_segment(0xDD, struct.pack(">H", restart_rows * columns)))
    parts += [_segment(0xDA, bytes([1, 1, 0, predictor, 0, 0])), body, b"\xff\xd9"]
    return b"".join(parts)


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def _differences(gray: np.ndarray, bits: int, predictor: int) -> np.ndarray:
    """Return sample minus prediction (T.81 table H.1), from -32767 to 32768."""
    left, above, corner = gray[1:, :-1], gray[:-1, 1:], gray[:-1, :-1]
    predictions = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }
    predicted = np.empty_like(gray)
    predicted[0, 0] = 1 << (bits - 1)
    predicted[0, 1:] = gray[0, :-1]
    predicted[1:, 0] = gray[:-1, 0]
    predicted[1:, 1:] = predictions[predictor]
    difference = (gray - predicted) & 0xFFFF
    return np.where(difference > 32768, difference - 65536, difference)


def _entropy(differences: np.ndarray) -> bytes:
    """Return the Huffman codes of the categories with their bits; 0xFF is stuffed with a 0."""
    codes, code = [], 0
    for number, length in enumerate(LENGTHS):
        code <<= length - (LENGTHS[number - 1] if number else length)
        codes.append(code)
        code += 1
    pieces = [_bits(row, np.array(codes), np.array(LENGTHS)) for row in differences]
    stream = np.concatenate(pieces)
    padding = np.ones(-len(stream) % 8, np.uint8)
    return np.packbits(np.concatenate([stream, padding])).tobytes().replace(b"\xff", b"\xff\0")


def _bits(row: np.ndarray, codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    category = np.frexp(np.abs(row))[1]
    extra = np.where(category == 16, 0, category)  # category 16 is one value: no additional bits
    value = np.where(row < 0, row + (1 << extra) - 1, row) & ((1 << extra) - 1)
    word = (codes[category] << extra) | value
    length = lengths[category] + extra
    pixel = np.repeat(np.arange(len(row)), length)
    position = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return ((word[pixel] >> (length[pixel] - 1 - position)) & 1).astype(np.uint8)
