"""Encode lossless JPEG streams as the PVRG codec does, which compressed DDSM.

ITU-T T.81 process 14 (SOF3), one component, Huffman coded. PVRG follows the standard except in the
first row: it applies the selected predictor there too, with 2^(P-1) as the row above; the standard
uses the left neighbour.
"""

import heapq

import numpy as np


def encode(image: np.ndarray, bits: int, selector: int) -> bytes:
    """Return the stream of `image` (H, W), gray low_bits 2^bits, predicted by `selector` 1 to 7."""
    image = image.astype(np.int64)
    residual = (image - _predicted(image, bits, selector)) & 0xFFFF
    signed = np.where(residual > 32768, residual - 65536, residual).ravel()
    category = np.frexp(np.abs(signed).astype(float))[1]  # SSSS of T.81 H.1.2.2: 0 to 16
    lengths = _code_lengths(np.bincount(category, minlength=17))
    codes, symbols = _codes(lengths)
    height, width = image.shape
    frame = np.array([bits, height >> 8, height & 255, width >> 8, width & 255, 1, 1, 0x11, 0])
    counts = np.bincount(lengths[symbols], minlength=17)[1:]
    table = np.concatenate([[0], counts, symbols])
    scan = np.array([1, 1, 0, selector, 0, 0])
    return (
        b"\xff\xd8"
        + _segment(0xC3, frame)
        + _segment(0xC4, table)
        + _segment(0xDA, scan)
        + _entropy_coded(signed, category, codes, lengths)
        + b"\xff\xd9"
    )


def _predicted(image: np.ndarray, bits: int, selector: int) -> np.ndarray:
    padded = np.pad(image, ((1, 0), (1, 0)), constant_values=1 << (bits - 1))
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    predicted = {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[selector].copy()
    predicted[0, 0] = 1 << (bits - 1)
    predicted[1:, 0] = above[1:, 0]
    return predicted


def _code_lengths(counts: np.ndarray) -> np.ndarray:
    """Return the Huffman code length of each category, 0 if unused, at most 16."""
    used = np.flatnonzero(counts)
    # T.81 reserves the code of all ones: an additional, rarest symbol gets it.
    heap = [(max(int(counts[i]), int(counts.sum()) >> 10, 1), int(i), [int(i)]) for i in used]
    heap.append((0, 99, []))
    heapq.heapify(heap)
    lengths = np.zeros(len(counts), int)
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        merged = first[2] + second[2]
        lengths[merged] += 1
        heapq.heappush(heap, (first[0] + second[0], min(first[1], second[1]), merged))
    return lengths


def _codes(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return canonical codes by category, and the categories in table order (T.81 C.2)."""
    used = np.flatnonzero(lengths)
    symbols = used[np.argsort(lengths[used], kind="stable")]
    codes = np.zeros(len(lengths), np.int64)
    code, previous = 0, 0
    for symbol in symbols:
        code <<= int(lengths[symbol]) - previous
        previous = int(lengths[symbol])
        codes[symbol] = code
        code += 1
    return codes, symbols


def _entropy_coded(
    signed: np.ndarray, category: np.ndarray, codes: np.ndarray, lengths: np.ndarray
) -> bytes:
    extra = np.where(category == 16, 0, category)  # 32768 needs no bits beyond its category
    low_bits = np.where(signed < 0, signed - 1, signed) & ((1 << extra) - 1)
    words = (codes[category] << extra) | low_bits
    sizes = lengths[category] + extra
    ends = np.cumsum(sizes)
    shift = np.repeat(ends, sizes) - 1 - np.arange(ends[-1])
    ones = np.ones(-int(ends[-1]) % 8, np.uint8)  # the last byte is filled with ones
    stream = np.concatenate([((np.repeat(words, sizes) >> shift) & 1).astype(np.uint8), ones])
    return np.packbits(stream).tobytes().replace(b"\xff", b"\xff\x00")


def _segment(marker: int, body: np.ndarray) -> bytes:
    return bytes([0xFF, marker, 0, len(body) + 2]) + body.astype(np.uint8).tobytes()
