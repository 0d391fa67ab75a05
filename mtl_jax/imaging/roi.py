"""Crop the 128x128 ROI around a lesion at 200 um."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_jax.imaging.background import correct
from mtl_jax.types import ROI_PIXELS, InputError

PIXEL_UM = 200.0
GRAY_PER_COUNT = 0.125  # step in 12-bit gray levels: 8 * 4095 fits int16


def to_12_bit(gray: np.ndarray, bits: int, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return stored gray of `bits` depth, scaled linearly to 0 to 4095, not rounded.

    `limits` are the smallest and the largest gray of the whole image. Raises InputError for gray
    below 0 or beyond the depth.
    """
    top = (1 << bits) - 1
    low, high = limits or (float(gray.min()), float(gray.max()))
    if low < 0 or high > top:
        cure = "set bits" if 0 <= low and high <= 65535 else "save it as uint16, from 0 to 65535"
        raise InputError(f"gray {low:g} to {high:g} does not fit {bits} bits (0 to {top}): {cure}")
    return gray * (4095.0 / top)


def roi_indices(
    centre: tuple[float, float], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the rows (128,) and columns (128,) of the ROI, and its fraction outside the image.

    `centre` is the row and column in pixels; pixel i spans i to i + 1. The ROI starts at the pixel
    nearest to 64 above and left of it. Outside the image it continues by reflection (the border
    pixel is repeated), which avoids a false edge. Raises InputError if the centre is outside the
    image.
    """
    fraction_inside = 1.0
    indices = []
    for middle, size in zip(centre, shape, strict=True):
        if not 0 <= middle < size:
            raise InputError(
                f"the lesion's centre, row {centre[0]:.1f} column {centre[1]:.1f}, is outside the"
                f" image of {shape[0]} rows and {shape[1]} columns (pixels of"
                f" {PIXEL_UM:g} um)"
            )
        index = int(np.floor(middle - ROI_PIXELS / 2 + 0.5)) + np.arange(ROI_PIXELS)
        fraction_inside *= np.mean((index >= 0) & (index < size))
        index %= 2 * size
        indices.append(np.where(index < size, index, 2 * size - 1 - index))
    return indices[0], indices[1], float(1.0 - fraction_inside)


def crop(image: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Return the (128, 128) ROI of `image` (H, W) centred on `centre`, and the fraction outside."""
    rows, columns, outside = roi_indices(centre, image.shape)
    return image[np.ix_(rows, columns)], outside


def lesion_roi(
    gray: np.ndarray, centre: tuple[float, float], background: Mapping[str, Any]
) -> tuple[np.ndarray, float]:
    """Return the counts of the ROI in 12-bit `gray` at 200 um, and its fraction outside."""
    roi, outside = crop(gray, centre)
    return to_counts(roi, background), outside


def to_counts(roi: np.ndarray, background: Mapping[str, Any]) -> np.ndarray:
    """Return an ROI (128, 128) of 12-bit gray as int16 counts of 1/8 gray level, half to even.

    `background` is {'correct': bool, 'along_mm', 'depth_mm'}.
    """
    if background["correct"]:
        roi = correct(roi, background["along_mm"], background["depth_mm"], PIXEL_UM / 1000.0)
    return np.rint(roi / GRAY_PER_COUNT).astype(np.int16)
