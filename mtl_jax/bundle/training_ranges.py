"""Measure the range of the training ROIs, and flag scored ROIs outside it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.imaging.roi import GRAY_PER_COUNT
from mtl_jax.types import ROI_PIXELS

CENTRE = slice(ROI_PIXELS // 2 - 16, ROI_PIXELS // 2 + 16)  # a quarter of its side
FAR_PERCENTILE = 99.0  # of the distance between a training lesion and its nearest neighbour
FLAG_TEXTS = {
    "pixel_um": "pixel size {value:.4g} um",
    "contrast": "contrast of the ROI (standard deviation {value:.0f} of 4095)",
    "middle": "brightness of the centre relative to the background ({value:+.0f} of 4095)",
    "outside": "fraction of the ROI outside the image ({value:.2f})",
    "size_mm": "box size {value:.0f} mm",
}


class RoiMeasurements(NamedTuple):
    """ROIs: pixel_um, contrast, middle, outside and size_mm, (n,) float each."""

    pixel_um: np.ndarray
    contrast: np.ndarray
    middle: np.ndarray
    outside: np.ndarray
    size_mm: np.ndarray


def measure(
    counts: np.ndarray, pixel_um: np.ndarray, outside: np.ndarray, size_mm: np.ndarray
) -> RoiMeasurements:
    """Measure ROIs (n, 128, 128) int16.

    Of `pixel_um` and `size_mm` (n, 2) the larger side is used; `outside` (n,) is the fraction of
    each ROI outside its image.
    """
    gray = counts * GRAY_PER_COUNT
    return RoiMeasurements(
        pixel_um.max(1),
        gray.std((1, 2)),
        gray[:, CENTRE, CENTRE].mean((1, 2)),
        outside,
        size_mm.max(1),
    )


def training_limits(measurements: RoiMeasurements, modality: Sequence[str]) -> dict[str, Any]:
    """Return minimum and maximum of each quantity, and the modalities, as stored in bundle.json."""
    limits = {
        name: [float(column.min()), float(column.max())]
        for name, column in measurements._asdict().items()
    }
    return limits | {"modality": sorted(set(modality)), "rois": len(measurements.contrast)}


def range_flags(
    limits: Mapping[str, Any], measurements: RoiMeasurements, modality: Sequence[str]
) -> list[list[str]]:
    """Return a list for each ROI with a text for each quantity outside the training range."""
    texts: list[list[str]] = [[] for _ in modality]
    for name, column in measurements._asdict().items():
        low, high = limits[name]
        slack = 1e-3 * max(abs(low), abs(high))
        for i, value in enumerate(column.tolist()):
            if not low - slack <= value <= high + slack:
                text = FLAG_TEXTS[name].format(value=value)
                texts[i].append(f"{text}: training range {low:.4g} to {high:.4g}")
    for i, kind in enumerate(modality):
        if kind and limits["modality"] not in ([], [""]) and kind not in limits["modality"]:
            texts[i].append(f"modality {kind}: trained on {', '.join(limits['modality'])}")
    return texts


def far_distance(features: np.ndarray) -> float:
    """Return the distance in `features` (n, width) above which a lesion is far from all others.

    It is the 99th percentile of the distance between each training lesion and its nearest
    neighbour, 0 for fewer than two lesions.
    """
    if len(features) < 2:
        return 0.0
    squares = (features.astype(np.float64) ** 2).sum(1)
    distance = squares[:, None] + squares - 2 * features.astype(np.float64) @ features.T
    np.fill_diagonal(distance, np.inf)
    return float(np.percentile(np.sqrt(np.maximum(distance.min(1), 0)), FAR_PERCENTILE))
