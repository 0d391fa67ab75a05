"""Resample images to the pixel size of an ROI: average finer pixels, interpolate coarser ones."""

import numpy as np

from mtl_jax.types import InputError

TOLERANCE = 1e-3  # spacings in headers are rounded: a difference of 0.1% is ignored


def block_size(
    pixel_um: tuple[float, float], target_um: float = 200.0, upsample: bool = False
) -> tuple[float, float]:
    """Return the stored pixels (rows, columns) per output pixel.

    A ratio within 0.1% of an integer is rounded to it. Raises InputError for pixels coarser than
    the target, unless `upsample`; their ratio is below 1.
    """
    spans = []
    for size in pixel_um:
        span = target_um / size
        nearest = max(round(span), 1)
        if abs(span - nearest) <= TOLERANCE * nearest:
            span = float(nearest)
        if span < 1.0 and not upsample:
            raise InputError(
                f"pixels of {size:g} um are coarser than those of the ROI, {target_um:g} um: use"
                " the image at its original resolution, or set config.data.roi.upsample=True to"
                " interpolate it"
            )
        spans.append(span)
    return spans[0], spans[1]


def is_coarser(pixel_um: tuple[float, float], target_um: float) -> bool:
    """Return whether the rows or columns of an image are coarser than the target."""
    return min(block_size(pixel_um, target_um, upsample=True)) < 1.0


def to_pixel_size(
    image: np.ndarray,
    pixel_um: tuple[float, float],
    target_um: float = 200.0,
    upsample: bool = False,
) -> np.ndarray:
    """Return the image (H, W) at `target_um`, float32.

    Along an axis with finer pixels, each output pixel is the mean over its area: for an integer
    ratio N this averages N pixels (Samala 2017), otherwise stored pixels on the border of an output
    pixel are weighted by the fraction of their area inside it. A last row or column that does not
    fill an output pixel is dropped. Along an axis with coarser pixels, which `upsample` allows, it
    is the cubic convolution of the four nearest stored pixels (Keys 1981), not clipped.
    """
    spans = block_size(pixel_um, target_um, upsample)
    height, width = output_shape(image.shape, spans, target_um)
    return resample_part(image, spans, (0, height), (0, width))


def output_shape(
    shape: tuple[int, ...], spans: tuple[float, float], target_um: float = 200.0
) -> tuple[int, int]:
    """Return the shape of the output. Raises InputError if the image does not fill one pixel."""
    if shape[0] < spans[0] or shape[1] < spans[1]:
        raise InputError(f"an image of {shape} pixels does not fill one pixel of {target_um:g} um")
    return int(shape[0] / spans[0] + 1e-9), int(shape[1] / spans[1] + 1e-9)


def input_slice(span: float, part: tuple[int, int], size: int) -> slice:
    """Return the stored rows or columns (of `size`) needed for output part[0] to part[1] - 1.

    Where they are coarser than the output these are all: an interpolated pixel depends on stored
    pixels beyond its area, and coarse images are small.
    """
    if span < 1.0:
        return slice(0, size)
    return slice(int(part[0] * span), min(int(np.ceil(part[1] * span)), size))


def resample_part(
    image: np.ndarray,
    spans: tuple[float, float],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> np.ndarray:
    """Return a part of the output, (h, w) float32, from `rows[0]` to `rows[1] - 1`, columns alike.

    `image` holds the stored rows and columns that the part needs (`input_slice`), and `spans` are
    the stored pixels (rows, columns) per output pixel.
    """
    by_row = _resample_rows(image, spans[0], rows)
    return _resample_rows(by_row.T, spans[1], columns).T.astype(np.float32)


def _resample_rows(image: np.ndarray, span: float, part: tuple[int, int]) -> np.ndarray:
    if span == 1.0:
        return image[: part[1] - part[0]]
    return _interpolate(image, span, part) if span < 1.0 else _average(image, span, part)


def _average(image: np.ndarray, span: float, part: tuple[int, int]) -> np.ndarray:
    """Return means over consecutive groups of `span` rows, float64 (part[1] - part[0], W)."""
    edges = np.arange(part[0], part[1] + 1) * span - int(part[0] * span)
    rows = np.minimum(edges.astype(int), image.shape[0] - 1)
    # The integral of the image from row 0 to each edge; its differences are the area sums.
    integral = np.zeros((image.shape[0] + 1, image.shape[1]))
    np.cumsum(image, axis=0, dtype=np.float64, out=integral[1:])
    at_edges = integral[rows] + (edges - rows)[:, None] * image[rows]
    return np.diff(at_edges, axis=0) / span


def _interpolate(image: np.ndarray, span: float, part: tuple[int, int]) -> np.ndarray:
    """Return rows `span` stored rows apart, float64 (part[1] - part[0], W).

    Pixel i spans i to i + 1, so the center of output row i is at (i + 1/2) * span. Beyond the
    image its border rows are repeated.
    """
    position = (np.arange(*part) + 0.5) * span - 0.5
    first = np.floor(position).astype(int)
    t = (position - first)[:, None]
    weights = (  # Keys 1981, a = -1/2
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )
    result = np.zeros((len(position), image.shape[1]))
    for offset, weight in enumerate(weights, start=-1):
        result += weight * image[np.clip(first + offset, 0, len(image) - 1)]
    return result
