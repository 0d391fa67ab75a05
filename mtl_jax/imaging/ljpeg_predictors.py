"""Reconstruct gray from the differences of a lossless JPEG film (ITU-T T.81, H.1.2.1).

All sums are modulo 65536 as in the standard, by uint16 arithmetic.
"""

import numpy as np


def reconstruct_first_row(
    differences: np.ndarray, bits: int, selector: int, pvrg: bool
) -> np.ndarray:
    """Return the gray (W,) uint16 of the first row; the row above it, if used, is 2^(P-1)."""
    middle = 1 << (bits - 1)
    if not pvrg or selector in (1, 4, 5):
        row = differences.copy()
        row[:1] += np.uint16(middle)
        return np.cumsum(row, dtype=np.uint16)
    row = differences.astype(np.int64)
    row[0] += middle
    if selector in (2, 3):
        row[1:] += middle
    else:
        # Above + (left - corner) / 2 and (left + above) / 2 are equal here, and each pixel depends
        # on its left neighbour.
        for column in range(1, len(row)):
            row[column] += ((row[column - 1] & 0xFFFF) + middle) >> 1
    return row.astype(np.uint16)


def reconstruct_rows(first: np.ndarray, differences: np.ndarray, selector: int) -> np.ndarray:
    """Return the gray (H, W) uint16, given its first row, modulo 65536 (T.81 table H.1)."""
    gray = differences.copy()
    gray[0] = first
    if selector in (2, 4):
        if selector == 4:
            # The differences code the change, along the row, of the step from the row above.
            gray[1:] = np.cumsum(gray[1:], axis=1, dtype=np.uint16)
        return np.cumsum(gray, axis=0, dtype=np.uint16)
    gray[:, 0] = np.cumsum(gray[:, 0], dtype=np.uint16)
    if selector == 1:
        gray[1:] = np.cumsum(gray[1:], axis=1, dtype=np.uint16)
    elif selector == 3:
        for row in range(1, len(gray)):
            gray[row, 1:] += gray[row - 1, :-1]
    elif selector == 5:
        _along_rows(gray)
    elif selector == 6:
        # Selector 5 of the transposed image.
        transposed = np.ascontiguousarray(gray.T)
        _along_rows(transposed)
        gray = np.ascontiguousarray(transposed.T)
    else:
        _along_antidiagonals(gray)
    return gray


def _along_rows(gray: np.ndarray) -> None:
    """Predict left + (above - corner) / 2 in place, given the first row and column."""
    for row in range(1, len(gray)):
        above = gray[row - 1].astype(np.int32)
        gray[row, 1:] += (np.diff(above) >> 1).astype(np.uint16)
        np.cumsum(gray[row], dtype=np.uint16, out=gray[row])


def _along_antidiagonals(gray: np.ndarray) -> None:
    """Predict (left + above) / 2 in place, given the first row and column, by antidiagonals."""
    height, width = gray.shape
    flat = gray.reshape(-1)
    # Pixel (row, column) is flat[row * width + column]; the next of its antidiagonal is width - 1
    # further.
    for total in range(2, height + width - 1):
        top, bottom = max(1, total - width + 1), min(height - 1, total - 1)
        if top > bottom:
            continue
        begin, end = top * width + total - top, bottom * width + total - bottom + 1
        left = flat[begin - 1 : end - 1 : width - 1].astype(np.int32)
        above = flat[begin - width : end - width : width - 1]
        flat[begin : end : width - 1] += ((left + above) >> 1).astype(np.uint16)
