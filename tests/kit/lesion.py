"""Draws a lesion at known coordinates, and finds it again in an ROI. Knows no collection."""

import numpy as np

PARENCHYMA, LESION = 800, 3000  # of 12 bits


def film(shape: tuple[int, int], *discs: tuple[float, float, float], top: int = 4095) -> np.ndarray:
    """(H, W) uint16 of 0 to `top` with a bright disc at each (row, column, radius) in pixels.

    Coordinates run from the upper left corner, so the middle of pixel (0, 0) is at 0.5, 0.5.
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    gray = np.full(shape, PARENCHYMA)
    for row, column, radius in discs:
        inside = (rows + 0.5 - row) ** 2 + (columns + 0.5 - column) ** 2 <= radius**2
        gray[inside] = LESION
    return np.round(gray * (top / 4095)).astype(np.uint16)


def circle(row: float, column: float, radius: float, points: int = 24) -> list[tuple[float, float]]:
    """(column, row) of points on a circle, the first of them its lowest row."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return [(column + radius * np.sin(a), row - radius * np.cos(a)) for a in angles]


def offset(roi: np.ndarray) -> float:
    """How far the bright disc in an ROI is from its middle, in pixels of 200 um."""
    bright = roi > (int(roi.max()) + int(roi.min())) / 2
    middle = [np.mean(where) + 0.5 for where in np.nonzero(bright)]
    return float(np.hypot(middle[0] - roi.shape[0] / 2, middle[1] - roi.shape[1] / 2))
