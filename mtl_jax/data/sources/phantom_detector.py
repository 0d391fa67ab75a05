"""From mm of dense tissue to stored gray levels, for each of the three kinds of collection.

It knows no lesions and no labels. In this first form every kind stores dense tissue bright.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

DENSE_MINUS_FAT_PER_MM = 0.035  # attenuation difference at about 20 keV; Johns & Yaffe 1987


@dataclass(frozen=True)
class Detector:
    """What sets one collection apart from another; lengths in mm."""

    modality: str
    pixel_mm: float
    bits: int
    blur_mm: float  # standard deviation of the point spread
    quanta: float  # detected photons a square mm behind fat alone: the exposure noise
    gradient: float | None  # film: largest slope of density against log10 exposure; None: linear
    density_range: float  # film: optical density, or natural log exposure, over all gray levels
    grain: float  # standard deviation of film grain and scanner noise, in those units, a pixel


DETECTORS = {
    "sfm": Detector("SFM", 0.2, 12, 0.11, 4.0e5, 3.3, 4.0, 0.012),
    "ddsm": Detector("SFM", 0.1, 12, 0.09, 3.0e5, 2.6, 3.6, 0.030),
    "dm": Detector("DM", 0.1, 14, 0.07, 6.0e5, None, 3.0, 0.0),
}


def expose(
    rng: np.random.Generator, detector: Detector, dense_mm: np.ndarray, exposure: float
) -> np.ndarray:
    """Stored gray levels, uint16 of the shape of `dense_mm`.

    `exposure` is log10 of the exposure behind 20 mm of dense tissue over that of middle density.
    """
    fluence = np.exp(-DENSE_MINUS_FAT_PER_MM * dense_mm)
    fluence = ndimage.gaussian_filter(fluence, detector.blur_mm / detector.pixel_mm)
    quanta = detector.quanta * detector.pixel_mm**2
    noise = rng.standard_normal(dense_mm.shape, dtype=np.float32)
    fluence = np.maximum(fluence + noise * np.sqrt(fluence / quanta), 1e-3)
    top = 2**detector.bits - 1
    log_exposure = np.log(fluence) + DENSE_MINUS_FAT_PER_MM * 20
    if detector.gradient is None:
        bright = 0.5 - log_exposure / detector.density_range
    else:
        span = detector.density_range - 0.2  # above base and fog
        steep = 4 * detector.gradient / span  # a logistic is steepest at its middle: a quarter
        density = 0.2 + span / (1 + np.exp(-steep * (log_exposure / np.log(10) + exposure)))
        grain = rng.standard_normal(dense_mm.shape, dtype=np.float32) * detector.grain
        bright = 1 - (density + grain) / detector.density_range
    return np.clip(np.rint(bright * top), 0, top).astype(np.uint16)
