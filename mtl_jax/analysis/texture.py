"""The texture of a mass and its rim in numbers, from co-occurring gray levels."""

import numpy as np
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops

LEVELS = 32
APART = (1, 3, 6)  # pixels of 0.2 mm
DIRECTIONS = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
RIM = 10  # pixels, 2 mm, on either side of the outline
PROPERTIES = ("contrast", "correlation", "homogeneity", "energy", "entropy")


def texture_features(gray: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Of `gray` (s, s) inside `mask` and in the rim about its edge: contrast, correlation,
    homogeneity, energy and entropy of pairs of gray levels (Haralick et al. 1973) at three
    distances, the mean of four directions; and how mass and rim differ in brightness."""
    rim = ndimage.binary_dilation(mask, iterations=RIM) & ~ndimage.binary_erosion(
        mask, iterations=RIM, border_value=1
    )
    outside = rim & ~mask
    inside, about = gray[mask], gray[outside] if outside.any() else gray[~mask]
    spread = float(gray.std()) or 1.0
    found = {
        "brightness": float((inside.mean() - about.mean()) / spread) if about.size else 0.0,
        "inside_sd": float(inside.std() / spread),
        "skewness": float(((inside - inside.mean()) ** 3).mean() / (inside.std() ** 3 + 1e-9)),
    }
    low, high = np.percentile(gray, (1, 99))
    scaled = np.clip((gray - low) / max(high - low, 1e-9), 0, 1)
    level = 1 + np.minimum(np.uint8(scaled * LEVELS), LEVELS - 1)  # 0 marks what is left out
    for place, where in (("mass", mask), ("rim", rim)):
        pairs = _pairs(np.where(where, level, 0))
        for name in PROPERTIES:
            for apart, value in zip(APART, graycoprops(pairs, name).mean(1), strict=True):
                found[f"{place}_{name}_{apart}"] = float(value)
    return found


def _pairs(level: np.ndarray) -> np.ndarray:
    """Shares (LEVELS, LEVELS, distances, directions) of pairs of levels, both of them above 0."""
    rows, columns = np.nonzero(level)
    cut = level[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    counts = graycomatrix(cut, APART, DIRECTIONS, levels=LEVELS + 1, symmetric=True)
    pairs = counts[1:, 1:].astype(np.float64)
    return pairs / np.maximum(pairs.sum((0, 1)), 1.0)
