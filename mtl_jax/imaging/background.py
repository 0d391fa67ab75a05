"""Background correction: subtract the slowly varying background of an ROI."""

import numpy as np


def correct(
    roi: np.ndarray, along_mm: float = 3.2, depth_mm: float = 1.6, pixel_mm: float = 0.2
) -> np.ndarray:
    """Return the ROIs (..., H, W) minus their `background`, signed float64, not clipped."""
    return np.asarray(roi, np.float64) - background(roi, along_mm, depth_mm, pixel_mm)


def background(
    roi: np.ndarray, along_mm: float = 3.2, depth_mm: float = 1.6, pixel_mm: float = 0.2
) -> np.ndarray:
    """Return the background B (..., H, W) float64 of ROIs, estimated from their four edges.

    Each pixel has the distances d_k to the left, right, upper and lower edge. g_k is the smoothed
    gray at the foot of the perpendicular on each edge, and

        B = sum_k (g_k / d_k) / sum_k (1 / d_k).

    The distance-weighted mean of the four edges is from the references. The papers do not fix the
    following, which is a reconstruction: g_k is the mean over a box of `along_mm` along the edge
    and `depth_mm` into the ROI, of which only the part inside the ROI counts. The box size of the
    papers, 32x16 pixels of 0.1 mm, is uncertain; therefore it is a parameter. The box has an odd
    number of pixels along the edge, so that it is symmetric about the foot (16 becomes 17). d_k is
    measured from the pixel's centre to the border of the ROI, i + 1/2 pixels, so that it is never
    zero.

    Consequences: a constant ROI is its own background, an added offset is added to B, rotating or
    flipping the ROI rotates or flips B, and B is between the smallest and the largest g_k.

    Parameters
    ----------
    roi
        ROIs (..., H, W).
    along_mm, depth_mm
        Size of the smoothing box along the edge and into the ROI, in mm.
    pixel_mm
        Pixel size in mm.

    References
    ----------
    Chan et al. 1995a and Sahiner et al. 1996, as used by Samala et al. 2017.
    """
    roi = np.asarray(roi, np.float64)
    height, width = roi.shape[-2:]
    half = int(round(along_mm / pixel_mm)) // 2
    depth = max(int(round(depth_mm / pixel_mm)), 1)
    top = _running_mean(roi[..., :depth, :].mean(-2), half)[..., None, :]
    bottom = _running_mean(roi[..., -depth:, :].mean(-2), half)[..., None, :]
    left = _running_mean(roi[..., :, :depth].mean(-1), half)[..., :, None]
    right = _running_mean(roi[..., :, -depth:].mean(-1), half)[..., :, None]
    w_top = 1.0 / (np.arange(height) + 0.5)[:, None]
    w_left = 1.0 / (np.arange(width) + 0.5)[None, :]
    w_bottom, w_right = w_top[::-1], w_left[:, ::-1]
    weighted_sum = (top * w_top + bottom * w_bottom) + (left * w_left + right * w_right)
    return weighted_sum / ((w_top + w_bottom) + (w_left + w_right))


def _running_mean(line: np.ndarray, half: int) -> np.ndarray:
    """Return the mean over up to `half` neighbours on each side along the last axis."""
    sums = np.zeros((*line.shape[:-1], line.shape[-1] + 1))
    np.cumsum(line, axis=-1, out=sums[..., 1:])
    index = np.arange(line.shape[-1])
    first = np.maximum(index - half, 0)
    last = np.minimum(index + half + 1, line.shape[-1])
    return (sums[..., last] - sums[..., first]) / (last - first)
