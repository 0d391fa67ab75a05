"""The 128x128 region of interest around a lesion at 200 um. Knows no files and no labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_jax.imaging.background import correct
from mtl_jax.nouns import InputError

ROI_PIXELS = 128
PIXEL_UM = 200.0
GRAY_PER_COUNT = 0.125  # 12-bit gray levels, corrected or not, fit int16 at this step: 8 * 4095


def to_12_bit(gray: np.ndarray, bits: int) -> np.ndarray:
    """Stored gray of `bits` depth scaled linearly to 0..4095, float64, not rounded.

    InputError: gray below zero or beyond the depth.
    """
    top = (1 << bits) - 1
    low, high = float(gray.min()), float(gray.max())
    if low < 0 or high > top:
        raise InputError(
            f"gray {low:g} to {high:g} does not fit {bits} bits (0 to {top}): set bits"
        )
    return gray * (4095.0 / top)


def cut(image: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, float]:
    """The (128, 128) region centred on `centre`, and the fraction of it outside the image.

    `centre` is (row, column) in pixels of `image` (H, W), pixel i spanning i to i + 1; the region
    starts at the whole pixel nearest to 64 above and left of it. What lies outside the image is
    its mirror image at the border (the border pixel repeated), so no false edge appears.
    InputError: the centre itself is outside.
    """
    fraction_inside = 1.0
    places = []
    for middle, size in zip(centre, image.shape, strict=True):
        if not 0 <= middle < size:
            raise InputError(
                f"the lesion's centre, row {centre[0]:.1f} column {centre[1]:.1f}, is outside the"
                f" image of {image.shape[0]} rows and {image.shape[1]} columns (pixels of"
                f" {PIXEL_UM:g} um)"
            )
        place = int(np.floor(middle - ROI_PIXELS / 2 + 0.5)) + np.arange(ROI_PIXELS)
        fraction_inside *= np.mean((place >= 0) & (place < size))
        place %= 2 * size
        places.append(np.where(place < size, place, 2 * size - 1 - place))
    return image[np.ix_(*places)], float(1.0 - fraction_inside)


def lesion_roi(
    gray: np.ndarray, centre: tuple[float, float], background: Mapping[str, Any]
) -> tuple[np.ndarray, float]:
    """Counts (128, 128) int16 of 1/8 gray level around a lesion, and the fraction outside.

    `gray` is a 12-bit image at 200 um; `background` is {'correct': bool, 'along_mm', 'depth_mm'}.
    Counts are rounded half to even.
    """
    roi, outside = cut(gray, centre)
    if background["correct"]:
        roi = correct(roi, background["along_mm"], background["depth_mm"], PIXEL_UM / 1000.0)
    return np.rint(roi / GRAY_PER_COUNT).astype(np.int16), outside
