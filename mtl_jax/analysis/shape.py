"""The shape of a mass in numbers. It sees the outline only, no gray."""

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours, regionprops

from mtl_jax.analysis.outline import PIXEL_MM

ANGLES = 180  # directions in which the radius is taken


def shape_features(mask: np.ndarray) -> dict[str, float]:
    """Of `mask` (s, s) bool, in one piece: size, roundness, and the normalized radial length of
    Kilday et al. 1993: its spread, entropy, roughness and crossings of its mean."""
    whole = regionprops(mask.astype(np.uint8))[0]
    perimeter = max(whole.perimeter_crofton, 1.0)
    radius = radial_length(mask)
    normal = radius / max(radius.max(), 1e-9)
    share = np.histogram(normal, bins=20, range=(0, 1))[0] / len(normal)
    share = share[share > 0]
    above = normal > normal.mean()
    return {
        "area_mm2": float(whole.area) * PIXEL_MM**2,
        "perimeter_mm": float(perimeter) * PIXEL_MM,
        "circularity": float(4 * np.pi * whole.area / perimeter**2),
        "eccentricity": float(whole.eccentricity),
        "solidity": float(whole.solidity),
        "extent": float(whole.extent),
        "radial_mean": float(normal.mean()),
        "radial_sd": float(normal.std()),
        "radial_entropy": float(-(share * np.log(share)).sum()),
        "radial_roughness": float(np.abs(normal - np.roll(normal, 1)).mean()),
        "radial_crossings": float((above != np.roll(above, 1)).sum()),
    }


def radial_length(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels (ANGLES,) from the centroid to the farthest edge in each direction."""
    middle = np.array(ndimage.center_of_mass(mask))
    edge = max(find_contours(np.pad(mask, 1).astype(float), 0.5), key=len) - 1 - middle
    angle = np.arctan2(edge[:, 0], edge[:, 1])
    length = np.hypot(edge[:, 0], edge[:, 1])
    place = np.floor((angle + np.pi) / (2 * np.pi) * ANGLES).astype(int) % ANGLES
    found = np.zeros(ANGLES)
    np.maximum.at(found, place, length)
    seen = np.flatnonzero(found)
    return np.interp(np.arange(ANGLES), seen, found[seen], period=ANGLES)
