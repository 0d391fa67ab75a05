"""Read the compressed films of DDSM: lossless JPEG (SOF3) of the PVRG codec.

ITU-T T.81 predicts the first row from the left neighbour for every selector. PVRG applies the
selector there too, with 2^(P-1) as the row above, so decoders that follow the standard return wrong
gray. This module uses such a decoder for the differences only: it relabels the stream as selector 1
and 16 bits, for which both agree, and then applies the prediction of the original selector.
"""

from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np

from mtl_jax.imaging import ics
from mtl_jax.imaging.codestream import read_segment
from mtl_jax.imaging.ljpeg_predictors import reconstruct_first_row, reconstruct_rows
from mtl_jax.imaging.stored_image import MAX_PIXELS
from mtl_jax.types import InputError

_SOF3, _DHT, _SOI, _EOI, _SOS, _DRI = 0xC3, 0xC4, 0xD8, 0xD9, 0xDA, 0xDD
_OTHER_FRAMES = {*range(0xC0, 0xD0)} - {_SOF3, _DHT, 0xC8, 0xCC}
_BYTES_PER_PIXEL = 8  # at most 32 bits, each byte stuffed
_CHUNK_PIXELS = 1 << 22
_HEADER_BYTES = 1 << 16
_MAX_SPARE_BYTES = 8  # after the last difference of a stream


@dataclass(frozen=True)
class _Stream:
    bits: int
    height: int
    width: int
    selector: int
    counts: bytes  # number of Huffman codes of each length, 1 to 16 bits
    symbols: bytes  # number of bits of a difference, in the order of the codes
    coded: bytes  # the entropy-coded segment, bytes stuffed


def read(path: Path) -> tuple[np.ndarray, int]:
    """Return the stored gray (H, W) uint16 and its precision in bits.

    Height and width of the `.ics` file in the same folder, if any, take precedence, because some
    streams of DDSM state them in the wrong order. The stream is predicted as by PVRG; if the gray
    exceeds its precision, it is predicted as in T.81.
    """
    if path.stat().st_size > _BYTES_PER_PIXEL * MAX_PIXELS:
        raise InputError("longer than the limit of pixels allows; download it again")
    stream = _parse(path.read_bytes())
    film = ics.find_film(path)
    shape = (film.lines, film.pixels_per_line) if film else (stream.height, stream.width)
    if shape[0] * shape[1] != stream.height * stream.width:
        raise InputError(
            f"{stream.height}x{stream.width} pixels, but the .ics file states"
            f" {shape[0]}x{shape[1]}; download both again"
        )
    differences = _differences(stream)
    for pvrg in (True, False):
        first = reconstruct_first_row(differences[0], stream.bits, stream.selector, pvrg)
        gray = reconstruct_rows(first, differences, stream.selector)
        if gray.max() < 1 << stream.bits:
            return gray.reshape(shape), stream.bits
    raise InputError(f"damaged: its gray exceeds {stream.bits} bits; download it again")


def read_precision(path: Path) -> int | None:
    """Return the precision in bits by the header of the stream; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER_BYTES)
    except OSError:
        return None
    offset = 2
    while data[:2] == bytes([0xFF, _SOI]) and (segment := read_segment(data, offset)):
        marker, body, offset = segment
        if marker == _SOF3:
            return body[0] if body else None
    return None


def _parse(data: bytes) -> _Stream:
    """Return the only scan with its header, every field checked before decoding."""
    if data[:2] != bytes([0xFF, _SOI]):
        raise InputError("no JPEG stream at its start; download it again")
    frame = None
    tables: dict[int, tuple[bytes, bytes]] = {}
    offset = 2
    while True:
        segment = read_segment(data, offset)
        if segment is None:
            raise InputError("truncated or damaged in its JPEG header; download it again")
        marker, body, offset = segment
        if marker == _SOF3:
            frame = _frame(body)
        elif marker == _DHT:
            tables |= _huffman_tables(body)
        elif marker == _DRI and any(body):
            raise InputError(
                "JPEG with restart intervals, which DDSM does not use; download it again"
            )
        elif marker in _OTHER_FRAMES:
            raise InputError("not a lossless Huffman JPEG (SOF3); download it again")
        elif marker == _SOS:
            break
    if frame is None or len(body) != 6 or body[0] != 1 or body[2] >> 4 not in tables:
        raise InputError(
            "its JPEG header is damaged (frame, scan or Huffman table); download it again"
        )
    if not 1 <= body[3] <= 7 or body[5] != 0:
        raise InputError(
            f"JPEG predictor {body[3]}, point transform {body[5]}; supported: 1 to 7, 0;"
            " download it again"
        )
    coded = _coded(data, offset)
    # A difference takes at least one bit: reject an implausible header before allocating memory.
    if 8 * len(coded) < frame[1] * frame[2]:
        raise InputError(
            f"truncated: {len(coded)} bytes for {frame[1]}x{frame[2]} pixels; download it again"
        )
    return _Stream(*frame, body[3], *tables[body[2] >> 4], coded)


def _frame(body: bytes) -> tuple[int, int, int]:
    """Return bits, height and width of the frame header."""
    if len(body) != 9 or body[5] != 1:
        raise InputError("its JPEG frame is damaged or has several components; download it again")
    bits, height, width = body[0], int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    if not 2 <= bits <= 16 or not 0 < height * width <= MAX_PIXELS:
        raise InputError(
            f"its JPEG header states {height}x{width} pixels of {bits} bits; download it again"
        )
    return bits, height, width


def _huffman_tables(body: bytes) -> dict[int, tuple[bytes, bytes]]:
    """Return the number of codes of each length and the symbols of each table, by its id."""
    tables = {}
    while body:
        counts = body[1:17]
        symbols = body[17 : 17 + sum(counts)]
        used = sum(count << (16 - length) for length, count in enumerate(counts, start=1))
        complete = len(counts) == 16 and len(symbols) == sum(counts) > 0
        if not complete or len(set(symbols)) < len(symbols) or max(symbols) > 16 or used > 1 << 16:
            raise InputError("its Huffman table is damaged; download it again")
        tables[body[0]] = (counts, symbols)
        body = body[17 + len(symbols) :]
    return tables


def _coded(data: bytes, start: int) -> bytes:
    """Return the entropy-coded segment, up to the first marker or the end of the file."""
    end = start
    while 0 <= (end := data.find(b"\xff", end)) < len(data) - 1 and data[end + 1] == 0:
        end += 2
    return data[start:end] if end >= 0 else data[start:]


def _differences(stream: _Stream) -> np.ndarray:
    """Return the coded differences (H, W) modulo 65536, uint16."""
    size = [*stream.height.to_bytes(2), *stream.width.to_bytes(2)]
    table_length = (19 + len(stream.symbols)).to_bytes(2)
    relabelled = (
        bytes([0xFF, _SOI, 0xFF, _SOF3, 0, 11, 16, *size, 1, 1, 0x11, 0])
        + bytes([0xFF, _DHT, *table_length, 0, *stream.counts, *stream.symbols])
        + bytes([0xFF, _SOS, 0, 8, 1, 1, 0, 1, 0, 0])
        + stream.coded
        + bytes([0xFF, _EOI])
    )
    decoded = imagecodecs.jpeg8_decode(relabelled)
    differences = np.empty_like(decoded)
    differences[:, 1:] = decoded[:, 1:] - decoded[:, :-1]
    differences[1:, 0] = decoded[1:, 0] - decoded[:-1, 0]
    differences[0, :1] = decoded[0, :1] - np.uint16(1 << 15)
    _check_length(stream, differences)
    return differences


def _check_length(stream: _Stream, differences: np.ndarray) -> None:
    """Raise InputError unless the stream holds all differences: decoders fill in what it lacks."""
    values = np.arange(1 << 16)
    symbol = np.frexp(np.minimum(values, (1 << 16) - values).astype(float))[1]
    size = np.full(17, 1 << 20)
    lengths = np.repeat(np.arange(1, 17), list(stream.counts))
    size[list(stream.symbols)] = lengths + np.array(list(stream.symbols)) % 16
    # Counting takes eight bytes per pixel, so the rows are counted in chunks.
    chunks = np.array_split(differences, 1 + differences.size // _CHUNK_PIXELS)
    histograms = [np.bincount(rows.ravel(), minlength=1 << 16) for rows in chunks]
    needed = int(np.sum(histograms, axis=0) @ size[symbol])
    n_bytes = len(stream.coded) - stream.coded.count(b"\xff\x00")
    if not needed <= 8 * n_bytes < needed + 8 * _MAX_SPARE_BYTES:
        kind = "truncated" if needed > 8 * n_bytes else "damaged"
        raise InputError(
            f"{kind}: {n_bytes} bytes of compressed data, {-(-needed // 8)} expected;"
            " download it again"
        )
