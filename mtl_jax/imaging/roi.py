"""Crop the 128x128 ROI around a lesion, and correct its background."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_jax.imaging.background import correct
from mtl_jax.types import ROI_PIXELS, InputError

GRAY_PER_COUNT = 0.125  # step in 12-bit gray levels: 8 * 4095 fits int16


@dataclass(frozen=True)
class RoiSettings:
    """How ROIs are made: the fields of config.data.roi and config.data.background.

    Attributes
    ----------
    extent_mm
        Side of the ROI in mm: its field of view, 128 pixels wide.
    upsample
        Interpolate images whose pixels are coarser than those of the ROI, which are errors
        otherwise.
    blank_mm
        Diameter in mm of a disc in the center that is set to the mean of the other pixels; 0: none.
    correct
        Whether the background is corrected.
    along_mm, depth_mm
        Size in mm of the averaging box of the background correction, along and across the edge.
    """

    extent_mm: float = 25.6
    upsample: bool = False
    blank_mm: float = 0.0
    correct: bool = True
    along_mm: float = 3.2
    depth_mm: float = 1.6

    @property
    def pixel_um(self) -> float:
        """The side of a pixel of the ROI in um, rounded to 1e-6 um: 200 for 25.6 mm."""
        return round(self.extent_mm * 1000 / ROI_PIXELS, 6)

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> "RoiSettings":
        """Return the settings of `config.data`."""
        return cls(**data["roi"], **data["background"])

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "RoiSettings":
        """Return the settings that `record` states; earlier versions stated fewer."""
        later = {name: record[name] for name in ("upsample", "blank_mm") if name in record}
        extent_mm = record.get("pixel_um", 200.0) * ROI_PIXELS / 1000
        return cls(extent_mm, **later, **record.get("background", {}))

    def record(self) -> dict[str, Any]:
        """Return what shards and bundles state of their ROIs.

        The settings of later versions are stated only if set, so that shards of before stay valid.
        """
        names = ("along_mm", "correct", "depth_mm")
        later = {"upsample": self.upsample, "blank_mm": self.blank_mm}
        return {
            "background": {name: getattr(self, name) for name in names},
            "pixel_um": self.pixel_um,
            **{name: value for name, value in later.items() if value},
            "roi_pixels": ROI_PIXELS,
            "gray_per_count": GRAY_PER_COUNT,
            "outside_image": "mirrored",
        }


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
    centre: tuple[float, float], shape: tuple[int, ...], pixel_um: float = 200.0
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
                f" {pixel_um:g} um)"
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
    gray: np.ndarray, centre: tuple[float, float], roi: RoiSettings
) -> tuple[np.ndarray, float]:
    """Return the counts of the ROI in 12-bit `gray` at its pixel size, and its fraction outside."""
    pixels, outside = crop(gray, centre)
    return to_counts(pixels, roi), outside


def to_counts(pixels: np.ndarray, roi: RoiSettings) -> np.ndarray:
    """Return an ROI (128, 128) of 12-bit gray as int16 counts of 1/8 gray level, half to even."""
    if roi.correct:
        pixels = correct(pixels, roi.along_mm, roi.depth_mm, roi.pixel_um / 1000.0)
    if roi.blank_mm:
        disc = center_disc(roi.blank_mm * 1000 / roi.pixel_um)
        pixels = np.where(disc, pixels[~disc].mean(), pixels)
    return np.rint(pixels / GRAY_PER_COUNT).astype(np.int16)


def center_disc(diameter: float) -> np.ndarray:
    """Return the pixels (128, 128) of an ROI whose centers are in its central disc, bool."""
    offset = np.arange(ROI_PIXELS) + 0.5 - ROI_PIXELS / 2
    return np.hypot(offset[:, None], offset) <= diameter / 2
