"""Flattening of the slowly varying background of an ROI. Reads no files."""

import numpy as np


def correct(
    roi: np.ndarray, along_mm: float = 3.2, depth_mm: float = 1.6, pixel_mm: float = 0.2
) -> np.ndarray:
    """The ROIs (..., H, W) less their `background`, signed float64 about zero, not clipped."""
    return np.asarray(roi, np.float64) - background(roi, along_mm, depth_mm, pixel_mm)


def background(
    roi: np.ndarray, along_mm: float = 3.2, depth_mm: float = 1.6, pixel_mm: float = 0.2
) -> np.ndarray:
    """Background B (..., H, W) float64 of ROIs (..., H, W), from their four edges.

    From each pixel the normals fall on the left, right, upper and lower edge at distances d_k; g_k
    is the smoothed gray at the four feet, and

        B = sum_k (g_k / d_k) / sum_k (1 / d_k).

    Source: Chan et al. 1995a and Sahiner et al. 1996, as used by Samala 2017. The
    distance-weighted mean of the four edges is theirs; the following is a reconstruction, as the
    papers do not fix it: g_k is the mean over a box that reaches `along_mm` along the edge and
    `depth_mm` into the ROI, of which only the part inside the ROI counts (their box size,
    32x16 pixels of 0.1 mm, is uncertain: hence the parameters); the box has an odd number of pixels
    along the edge, so that it is symmetric about the foot (16 becomes 17); and d_k runs from the
    pixel's centre to the ROI's border, i + 1/2 pixels, so that it is never zero.

    Consequences: a constant ROI has itself as background, an added offset passes into B, turning
    or flipping the ROI turns or flips B, and B lies between the least and the largest g_k.
    """
    roi = np.asarray(roi, np.float64)
    height, width = roi.shape[-2:]
    half = int(round(along_mm / pixel_mm)) // 2
    depth = max(int(round(depth_mm / pixel_mm)), 1)
    top = _running_mean(roi[..., :depth, :].mean(-2), half)[..., None, :]
    bottom = _running_mean(roi[..., -depth:, :].mean(-2), half)[..., None, :]
    left = _running_mean(roi[..., :, :depth].mean(-1), half)[..., :, None]
    right = _running_mean(roi[..., :, -depth:].mean(-1), half)[..., :, None]
    near_top = 1.0 / (np.arange(height) + 0.5)[:, None]
    near_left = 1.0 / (np.arange(width) + 0.5)[None, :]
    near_bottom, near_right = near_top[::-1], near_left[:, ::-1]
    weighted = (top * near_top + bottom * near_bottom) + (left * near_left + right * near_right)
    return weighted / ((near_top + near_bottom) + (near_left + near_right))


def _running_mean(line: np.ndarray, half: int) -> np.ndarray:
    """Mean over up to `half` neighbours on each side along the last axis, fewer at the ends."""
    sums = np.zeros((*line.shape[:-1], line.shape[-1] + 1))
    np.cumsum(line, axis=-1, out=sums[..., 1:])
    place = np.arange(line.shape[-1])
    first = np.maximum(place - half, 0)
    last = np.minimum(place + half + 1, line.shape[-1])
    return (sums[..., last] - sums[..., first]) / (last - first)
