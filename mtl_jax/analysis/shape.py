"""Shape features of a mass."""

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours, regionprops

from mtl_jax.analysis.outline import PIXEL_MM

N_ANGLES = 180  # directions of the radial length


def shape_features(mask: np.ndarray) -> dict[str, float]:
    """Return size, roundness and normalized radial length of `mask` (s, s) bool, one component.

    The features of the radial length are its standard deviation, entropy, roughness and number of
    crossings of its mean (Kilday et al. 1993).
    """
    props = regionprops(mask.astype(np.uint8))[0]
    perimeter = max(props.perimeter_crofton, 1.0)
    radius = radial_length(mask)
    normalized = radius / max(radius.max(), 1e-9)
    fraction = np.histogram(normalized, bins=20, range=(0, 1))[0] / len(normalized)
    fraction = fraction[fraction > 0]
    above_mean = normalized > normalized.mean()
    return {
        "area_mm2": float(props.area) * PIXEL_MM**2,
        "perimeter_mm": float(perimeter) * PIXEL_MM,
        "circularity": float(4 * np.pi * props.area / perimeter**2),
        "eccentricity": float(props.eccentricity),
        "solidity": float(props.solidity),
        "extent": float(props.extent),
        "radial_mean": float(normalized.mean()),
        "radial_sd": float(normalized.std()),
        "radial_entropy": float(-(fraction * np.log(fraction)).sum()),
        "radial_roughness": float(np.abs(normalized - np.roll(normalized, 1)).mean()),
        "radial_crossings": float((above_mean != np.roll(above_mean, 1)).sum()),
    }


def radial_length(mask: np.ndarray) -> np.ndarray:
    """Return the distance in pixels (N_ANGLES,) from the centroid to the farthest edge."""
    centroid = np.array(ndimage.center_of_mass(mask))
    edge = max(find_contours(np.pad(mask, 1).astype(float), 0.5), key=len) - 1 - centroid
    angle = np.arctan2(edge[:, 0], edge[:, 1])
    length = np.hypot(edge[:, 0], edge[:, 1])
    direction = np.floor((angle + np.pi) / (2 * np.pi) * N_ANGLES).astype(int) % N_ANGLES
    lengths = np.zeros(N_ANGLES)
    np.maximum.at(lengths, direction, length)
    known = np.flatnonzero(lengths)
    return np.interp(np.arange(N_ANGLES), known, lengths[known], period=N_ANGLES)
