"""What the training ROIs were like, and which scored ones are not. It rejects nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.imaging.roi import GRAY_PER_COUNT, ROI_PIXELS

MIDDLE = slice(ROI_PIXELS // 2 - 16, ROI_PIXELS // 2 + 16)  # 6.4 mm
FAR = 99.0  # percentile of the distance from a training lesion to its nearest other
WORDS = {
    "pixel_um": "pixel size {value:.4g} um",
    "contrast": "contrast of the ROI (standard deviation {value:.0f} of 4095)",
    "middle": "brightness of the middle over the background ({value:+.0f} of 4095)",
    "outside": "part of the ROI outside the image ({value:.2f})",
    "size_mm": "size of the box ({value:.0f} mm)",
}


class RoiMeasurements(NamedTuple):
    """Of ROIs: pixel_um, contrast, middle, outside and size_mm, (n,) float each."""

    pixel_um: np.ndarray
    contrast: np.ndarray
    middle: np.ndarray
    outside: np.ndarray
    size_mm: np.ndarray


def measure(
    counts: np.ndarray, pixel_um: np.ndarray, outside: np.ndarray, size_mm: np.ndarray
) -> RoiMeasurements:
    """From ROIs (n, 128, 128) int16; `pixel_um` and `size_mm` (n, 2), the larger side counts."""
    gray = counts * GRAY_PER_COUNT
    return RoiMeasurements(
        pixel_um.max(1),
        gray.std((1, 2)),
        gray[:, MIDDLE, MIDDLE].mean((1, 2)),
        outside,
        size_mm.max(1),
    )


def training_limits(measured: RoiMeasurements, modality: Sequence[str]) -> dict[str, Any]:
    """Least and most of each quantity, and the modalities: what bundle.json holds of a task."""
    limits = {
        name: [float(column.min()), float(column.max())]
        for name, column in measured._asdict().items()
    }
    return limits | {"modality": sorted(set(modality)), "rois": len(measured.contrast)}


def range_flags(
    limits: Mapping[str, Any], measured: RoiMeasurements, modality: Sequence[str]
) -> list[list[str]]:
    """For each ROI, in words, what lies outside the training range; mostly nothing."""
    found: list[list[str]] = [[] for _ in modality]
    for name, column in measured._asdict().items():
        low, high = limits[name]
        slack = 1e-3 * max(abs(low), abs(high))
        for i, value in enumerate(column.tolist()):
            if not low - slack <= value <= high + slack:
                said = WORDS[name].format(value=value)
                found[i].append(f"{said}: training had {low:.4g} to {high:.4g}")
    for i, kind in enumerate(modality):
        if kind and limits["modality"] not in ([], [""]) and kind not in limits["modality"]:
            found[i].append(f"modality {kind}: training had {', '.join(limits['modality'])}")
    return found


def far_distance(features: np.ndarray) -> float:
    """The distance beyond which a lesion is far from all of training: the 99th percentile of those
    from each training lesion (n, width) to its nearest other, 0 for fewer than two."""
    if len(features) < 2:
        return 0.0
    squares = (features.astype(np.float64) ** 2).sum(1)
    distance = squares[:, None] + squares - 2 * features.astype(np.float64) @ features.T
    np.fill_diagonal(distance, np.inf)
    return float(np.percentile(np.sqrt(np.maximum(distance.min(1), 0)), FAR))
