"""Texture features of a mass and its rim from gray-level co-occurrence matrices."""

import numpy as np
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops

LEVELS = 32
DISTANCES = (1, 3, 6)  # pixels of 0.2 mm
DIRECTIONS = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
RIM = 10  # pixels, 2 mm, on either side of the outline
PROPERTIES = ("contrast", "correlation", "homogeneity", "energy", "entropy")


def texture_features(gray: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return texture features of `gray` (s, s) inside `mask` and in the rim around its edge.

    They are contrast, correlation, homogeneity, energy and entropy of the co-occurrence matrices
    (Haralick et al. 1973) at three distances, averaged over four directions; and the difference in
    brightness of mass and rim, the standard deviation and the skewness inside the mass.
    """
    rim = ndimage.binary_dilation(mask, iterations=RIM) & ~ndimage.binary_erosion(
        mask, iterations=RIM, border_value=1
    )
    outer_rim = rim & ~mask
    inside, outside = gray[mask], gray[outer_rim] if outer_rim.any() else gray[~mask]
    std = float(gray.std()) or 1.0
    features = {
        "brightness": float((inside.mean() - outside.mean()) / std) if outside.size else 0.0,
        "inside_sd": float(inside.std() / std),
        "skewness": float(((inside - inside.mean()) ** 3).mean() / (inside.std() ** 3 + 1e-9)),
    }
    low, high = np.percentile(gray, (1, 99))
    scaled = np.clip((gray - low) / max(high - low, 1e-9), 0, 1)
    level = 1 + np.minimum(np.uint8(scaled * LEVELS), LEVELS - 1)  # 0 marks excluded pixels
    for name, part_mask in (("mass", mask), ("rim", rim)):
        matrices = _cooccurrence(np.where(part_mask, level, 0))
        for prop in PROPERTIES:
            means = graycoprops(matrices, prop).mean(1)
            for distance, value in zip(DISTANCES, means, strict=True):
                features[f"{name}_{prop}_{distance}"] = float(value)
    return features


def _cooccurrence(level: np.ndarray) -> np.ndarray:
    """Return the matrices (LEVELS, LEVELS, distances, directions) of pairs of levels above 0."""
    rows, columns = np.nonzero(level)
    cropped = level[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    counts = graycomatrix(cropped, DISTANCES, DIRECTIONS, levels=LEVELS + 1, symmetric=True)
    pairs = counts[1:, 1:].astype(np.float64)
    return pairs / np.maximum(pairs.sum((0, 1)), 1.0)
