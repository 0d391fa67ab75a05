"""Gray from the differences of a lossless JPEG film (ITU-T T.81, H.1.2.1). Decodes no bits.

All sums are modulo 65536, as in the standard, which uint16 arithmetic is by itself.
"""

import numpy as np


def reconstruct_first_row(
    differences: np.ndarray, bits: int, selector: int, pvrg: bool
) -> np.ndarray:
    """Gray (W,) uint16 of the first row; the row above it, where one is used, is 2^(P-1)."""
    middle = 1 << (bits - 1)
    if not pvrg or selector in (1, 4, 5):
        return _running_sum(differences, middle)
    row = differences.astype(np.int64)
    row[0] += middle
    if selector in (2, 3):
        row[1:] += middle
    else:
        # Above + (left - corner) / 2 and (left + above) / 2 are the same here, and each pixel
        # needs its left neighbour first.
        for column in range(1, len(row)):
            row[column] += ((row[column - 1] & 0xFFFF) + middle) >> 1
    return row.astype(np.uint16)


def reconstruct_rows(first: np.ndarray, differences: np.ndarray, selector: int) -> np.ndarray:
    """Gray (H, W) uint16 from its first row, modulo 65536 (T.81 table H.1).

    In the first column the prediction is the pixel above.
    """
    gray = differences.copy()
    gray[0] = first
    if selector in (2, 4):
        if selector == 4:
            # What is coded is how much the step down from the row above changes along the row.
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
        # Selector 5 with rows and columns exchanged.
        turned = np.ascontiguousarray(gray.T)
        _along_rows(turned)
        gray = np.ascontiguousarray(turned.T)
    else:
        _along_diagonals(gray)
    return gray


def _along_rows(gray: np.ndarray) -> None:
    """Left + (above - corner) / 2 in place, given the first row and column."""
    for row in range(1, len(gray)):
        above = gray[row - 1].astype(np.int32)
        gray[row, 1:] += (np.diff(above) >> 1).astype(np.uint16)
        np.cumsum(gray[row], dtype=np.uint16, out=gray[row])


def _along_diagonals(gray: np.ndarray) -> None:
    """(Left + above) / 2 in place, given the first row and column.

    All pixels of a diagonal that runs down to the left are done at once.
    """
    height, width = gray.shape
    flat = gray.reshape(-1)
    # Pixel (row, column) is flat[row * width + column]; the next of its diagonal is width - 1 on.
    for total in range(2, height + width - 1):
        top, bottom = max(1, total - width + 1), min(height - 1, total - 1)
        if top > bottom:
            continue
        begin, end = top * width + total - top, bottom * width + total - bottom + 1
        left = flat[begin - 1 : end - 1 : width - 1].astype(np.int32)
        above = flat[begin - width : end - width : width - 1]
        flat[begin : end : width - 1] += ((left + above) >> 1).astype(np.uint16)


def _running_sum(differences: np.ndarray, start: int) -> np.ndarray:
    row = differences.copy()
    row[:1] += np.uint16(start)
    return np.cumsum(row, dtype=np.uint16)
