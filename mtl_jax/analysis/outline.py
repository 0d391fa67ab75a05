"""Segment the mass in an ROI by a threshold."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

PIXEL_MM = 0.2
SMOOTHING_SD = 1.5  # pixels; film grain and noise are finer
CENTER_WEIGHT_SD = 24.0  # pixels
MIN_PIXELS = 25  # one square millimetre
DISC_MM = 3.0  # radius of the mask if no mass is found


def segment_mass(gray: np.ndarray) -> np.ndarray:
    """Return the mask (s, s) bool of the mass in the middle of an ROI, one component without holes.

    The smoothed ROI is weighted by a Gaussian around its center (Kupinski and Giger 1998),
    thresholded by Otsu's method (1979) and opened; the component nearest to the center is filled.
    If no component has an area of 1 mm², the mask is a disc with a radius of 3 mm.
    """
    row, column = np.indices(gray.shape)
    center = (np.array(gray.shape) - 1) / 2
    distance = np.hypot(row - center[0], column - center[1])
    smooth = ndimage.gaussian_filter(np.asarray(gray, np.float64), SMOOTHING_SD)
    weighted = (smooth - smooth.min()) * np.exp(-0.5 * (distance / CENTER_WEIGHT_SD) ** 2)
    if np.ptp(weighted) == 0:
        return distance <= DISC_MM / PIXEL_MM
    bright = ndimage.binary_opening(weighted > threshold_otsu(weighted), iterations=1)
    components, count = ndimage.label(bright)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    large = [number for number in range(1, count + 1) if sizes[number] >= MIN_PIXELS]
    if not large:
        return distance <= DISC_MM / PIXEL_MM
    nearest = min(large, key=lambda number: distance[components == number].min())
    return ndimage.binary_fill_holes(components == nearest)
