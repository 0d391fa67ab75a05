"""How spiculated a mass is, in numbers: which way the gray changes about its edge."""

import numpy as np
from scipy import ndimage

from mtl_jax.analysis.outline import PIXEL_MM

SMOOTH = 1.0  # pixels
INNER_MM, OUTER_MM = 1.0, 4.0  # of the ring, inside and outside the outline
BINS = 36


def spiculation_features(gray: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Of `gray` (s, s) in a ring about the edge of `mask`, from the angle between its gradient and
    the radius, weighed by the gradient's size (radial gradient analysis of Huo et al. 1995).

    `radial_gradient`: 1 where the gray falls straight outwards, as about a smooth mass; 0 where it
    falls any way. `across`: the share of gradient across the radius, which spicules raise.
    `angle_width`: the entropy of the angles, 0 where all are one, 1 where they are spread evenly.
    """
    smooth = ndimage.gaussian_filter(np.asarray(gray, np.float64), SMOOTH)
    by_row, by_column = np.gradient(smooth)
    middle = ndimage.center_of_mass(mask)
    row, column = np.indices(gray.shape)
    outward = np.arctan2(row - middle[0], column - middle[1])
    size = np.hypot(by_row, by_column)
    angle = np.arctan2(by_row, by_column) - outward
    far = ndimage.distance_transform_edt(~mask) * PIXEL_MM
    deep = ndimage.distance_transform_edt(mask) * PIXEL_MM
    found = {}
    for name, ring in (
        ("edge", (deep <= INNER_MM) & (far <= INNER_MM)),
        ("outside", (far > 0) & (far <= OUTER_MM)),
    ):
        weight = size[ring]
        total = weight.sum()
        if total == 0:
            found |= {f"{name}_radial_gradient": 0.0, f"{name}_across": 0.0}
            found |= {f"{name}_angle_width": 1.0, f"{name}_strength": 0.0}
            continue
        turn = angle[ring]
        share = np.histogram(np.mod(turn, 2 * np.pi), BINS, (0, 2 * np.pi), weights=weight)[0]
        share = share[share > 0] / total
        found |= {
            f"{name}_radial_gradient": float(-(weight * np.cos(turn)).sum() / total),
            f"{name}_across": float((weight * np.abs(np.sin(turn))).sum() / total),
            f"{name}_angle_width": float(-(share * np.log(share)).sum() / np.log(BINS)),
            f"{name}_strength": float(weight.mean() / (float(gray.std()) or 1.0)),
        }
    return found
