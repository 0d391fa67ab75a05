"""Spiculation features of a mass: directions of the gray gradient around its edge."""

import numpy as np
from scipy import ndimage

from mtl_jax.analysis.outline import PIXEL_MM

SMOOTHING_SD = 1.0  # pixels
INNER_MM, OUTER_MM = 1.0, 4.0  # width of the ring inside and outside the outline
N_BINS = 36


def spiculation_features(gray: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return features of the gradient of `gray` (s, s) in two rings around the edge of `mask`.

    They are computed from the angle between gradient and radius, weighted by the gradient's
    magnitude (radial gradient analysis of Huo et al. 1995): `radial_gradient`, 1 if the gray
    decreases straight outwards, as around a smooth mass, and 0 if in all directions; `across`, the
    fraction perpendicular to the radius, which spicules increase; `angle_width`, the entropy of the
    angles, 0 if all are equal and 1 if uniform; `strength`, the mean magnitude.
    """
    smooth = ndimage.gaussian_filter(np.asarray(gray, np.float64), SMOOTHING_SD)
    by_row, by_column = np.gradient(smooth)
    centroid = ndimage.center_of_mass(mask)
    row, column = np.indices(gray.shape)
    outward = np.arctan2(row - centroid[0], column - centroid[1])
    magnitude = np.hypot(by_row, by_column)
    angle = np.arctan2(by_row, by_column) - outward
    outside_mm = ndimage.distance_transform_edt(~mask) * PIXEL_MM
    inside_mm = ndimage.distance_transform_edt(mask) * PIXEL_MM
    features = {}
    for name, ring in (
        ("edge", (inside_mm <= INNER_MM) & (outside_mm <= INNER_MM)),
        ("outside", (outside_mm > 0) & (outside_mm <= OUTER_MM)),
    ):
        weight = magnitude[ring]
        total = weight.sum()
        if total == 0:
            features |= {f"{name}_radial_gradient": 0.0, f"{name}_across": 0.0}
            features |= {f"{name}_angle_width": 1.0, f"{name}_strength": 0.0}
            continue
        ring_angle = angle[ring]
        bins = np.mod(ring_angle, 2 * np.pi)
        fraction = np.histogram(bins, N_BINS, (0, 2 * np.pi), weights=weight)[0]
        fraction = fraction[fraction > 0] / total
        features |= {
            f"{name}_radial_gradient": float(-(weight * np.cos(ring_angle)).sum() / total),
            f"{name}_across": float((weight * np.abs(np.sin(ring_angle))).sum() / total),
            f"{name}_angle_width": float(-(fraction * np.log(fraction)).sum() / np.log(N_BINS)),
            f"{name}_strength": float(weight.mean() / (float(gray.std()) or 1.0)),
        }
    return features
