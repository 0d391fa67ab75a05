"""Draw a lesion at known coordinates, and locate it in an ROI."""

from pathlib import Path

import numpy as np

from mtl_jax.types import LesionView

PARENCHYMA, LESION = 800, 3000  # of 12 bits


def film(shape: tuple[int, int], *discs: tuple[float, float, float], top: int = 4095) -> np.ndarray:
    """Return an image (H, W) uint16 with a bright disc at each (row, column, radius).

    Coordinates are in pixels from the upper left corner: the centre of pixel (0, 0) is (0.5, 0.5).
    """
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    gray = np.full(shape, PARENCHYMA)
    for row, column, radius in discs:
        inside = (rows + 0.5 - row) ** 2 + (columns + 0.5 - column) ** 2 <= radius**2
        gray[inside] = LESION
    return np.round(gray * (top / 4095)).astype(np.uint16)


def lesion_row(
    pixel_um: tuple[float, float], spacing_source: str = "manifest", **facts: str
) -> LesionView:
    """Return a lesion view of which a table states the pixel size and `facts` only."""
    return LesionView(
        **{"collection": "x", "image_path": Path("x.dcm"), "box": (0, 0, 1, 1), "label": 0},
        **{"case_id": "1", "lesion_id": "1", "view": "", "laterality": "", "modality": ""} | facts,
        **{"truth_source": "", "pixel_um": pixel_um, "spacing_source": spacing_source},
    )


def circle(row: float, column: float, radius: float, points: int = 24) -> list[tuple[float, float]]:
    """Return (column, row) of points on a circle, starting at its lowest row."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return [(column + radius * np.sin(a), row - radius * np.cos(a)) for a in angles]


def offset(roi: np.ndarray) -> float:
    """Return the distance of the bright disc in an ROI from the centre, in pixels of 200 µm."""
    bright = roi > (int(roi.max()) + int(roi.min())) / 2
    row, column = (np.mean(indices) + 0.5 for indices in np.nonzero(bright))
    return float(np.hypot(row - roi.shape[0] / 2, column - roi.shape[1] / 2))
