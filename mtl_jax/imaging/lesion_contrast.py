"""Measure whether a lesion is brighter than its surroundings."""

import numpy as np

from mtl_jax.types import ROI_PIXELS

# Sides of the box, in pixels of the ROI: a smaller one is mostly the lesion's margin, and a larger
# one leaves no surroundings in the ROI.
MIN_SIDE, MAX_SIDE = 5.0, 0.75 * ROI_PIXELS
INNER, OUTER = 0.5, 1.5  # sides of the inner part and of the surroundings, relative to the box


def lesion_contrast(roi: np.ndarray, sides: tuple[float, float]) -> float:
    """Return the mean gray of the inner part of a lesion's box minus that of a ring around the box.

    `roi` (128, 128) is centred on the box and not corrected for its background; `sides` are the
    height and width of the box in pixels of `roi`. NaN if the box is too small or too large.
    """
    if min(sides) < MIN_SIDE or max(sides) > MAX_SIDE:
        return float("nan")
    offset = np.abs(np.arange(ROI_PIXELS) + 0.5 - ROI_PIXELS / 2)
    # 1 on the border of the box.
    distance = np.maximum(offset[:, None] / (sides[0] / 2), offset / (sides[1] / 2))
    ring = (distance > 1) & (distance <= OUTER)
    return float(roi[distance <= INNER].mean() - roi[ring].mean())
