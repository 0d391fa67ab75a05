"""Where a mass ends: a plain segmentation of an ROI. It describes nothing."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

PIXEL_MM = 0.2
SMOOTH = 1.5  # pixels, standard deviation: film grain and noise are finer
REACH = 24.0  # pixels, standard deviation of the weight that falls off from the middle
SMALLEST = 25  # pixels, one square millimetre


def segment_mass(gray: np.ndarray) -> np.ndarray:
    """The mass as a mask (s, s) bool, in one piece without holes, from `gray` (s, s), background
    corrected, the lesion in the middle and brighter than what is about it.

    The smoothed ROI is weighed by a Gaussian about its middle (Kupinski and Giger 1998) and cut
    by Otsu's threshold (1979); the piece nearest the middle is opened and filled. Where nothing of
    a square millimetre is found, it is a disc of 3 mm.
    """
    row, column = np.indices(gray.shape)
    middle = (np.array(gray.shape) - 1) / 2
    away = np.hypot(row - middle[0], column - middle[1])
    smooth = ndimage.gaussian_filter(np.asarray(gray, np.float64), SMOOTH)
    weighed = (smooth - smooth.min()) * np.exp(-0.5 * (away / REACH) ** 2)
    if np.ptp(weighed) == 0:
        return away <= 3.0 / PIXEL_MM
    bright = ndimage.binary_opening(weighed > threshold_otsu(weighed), iterations=1)
    pieces, count = ndimage.label(bright)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    fits = [piece for piece in range(1, count + 1) if sizes[piece] >= SMALLEST]
    if not fits:
        return away <= 3.0 / PIXEL_MM
    nearest = min(fits, key=lambda piece: away[pieces == piece].min())
    return ndimage.binary_fill_holes(pieces == nearest)
