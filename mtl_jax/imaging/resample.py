"""Images brought to one pixel size by averaging. Never interpolates to a finer grid."""

import numpy as np

from mtl_jax.types import InputError

TOLERANCE = 1e-3  # spacings in headers are rounded: 0.1 % is the same pixel size


def block_size(pixel_um: tuple[float, float], target_um: float = 200.0) -> tuple[float, float]:
    """How many stored pixels (rows, columns) one output pixel spans.

    A ratio within 0.1 % of a whole number is that number. InputError: pixels coarser than the
    target.
    """
    spans = []
    for size in pixel_um:
        span = target_um / size
        whole = max(round(span), 1)
        if abs(span - whole) <= TOLERANCE * whole:
            span = float(whole)
        if span < 1.0:
            raise InputError(
                f"pixels of {size:g} um are coarser than the {target_um:g} um that all collections"
                " share; use the image at its original resolution"
            )
        spans.append(span)
    return spans[0], spans[1]


def to_pixel_size(
    image: np.ndarray, pixel_um: tuple[float, float], target_um: float = 200.0
) -> np.ndarray:
    """The (H, W) image at `target_um`, float32, each output pixel the mean over its area.

    For a whole ratio N that is averaging NxN pixels (Samala 2017); otherwise stored
    pixels on the border of an output pixel count by the fraction of their area inside it. A last
    row or column that does not fill an output pixel is dropped.
    """
    spans = block_size(pixel_um, target_um)
    height, width = output_shape(image.shape, spans, target_um)
    return average_blocks(image, spans, (0, height), (0, width))


def output_shape(
    shape: tuple[int, ...], spans: tuple[float, float], target_um: float = 200.0
) -> tuple[int, int]:
    """How many output pixels (rows, columns) an image fills. InputError: not one."""
    if shape[0] < spans[0] or shape[1] < spans[1]:
        raise InputError(f"an image of {shape} pixels does not fill one {target_um:g} um")
    return int(shape[0] / spans[0] + 1e-9), int(shape[1] / spans[1] + 1e-9)


def input_slice(span: float, part: tuple[int, int], size: int) -> slice:
    """The stored rows (of `size`), or columns, that output rows part[0] to part[1] - 1 touch."""
    return slice(int(part[0] * span), min(int(np.ceil(part[1] * span)), size))


def average_blocks(
    image: np.ndarray,
    spans: tuple[float, float],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> np.ndarray:
    """Output rows and columns from first to before last, (h, w) float32, of the stored rows and
    columns `input_slice` them."""
    by_row = _average(image, spans[0], rows)
    return _average(by_row.T, spans[1], columns).T.astype(np.float32)


def _average(image: np.ndarray, span: float, part: tuple[int, int]) -> np.ndarray:
    """Means over consecutive stretches of `span` rows, float64 (part[1] - part[0], W)."""
    if span == 1.0:
        return image[: part[1] - part[0]]
    edges = np.arange(part[0], part[1] + 1) * span - int(part[0] * span)
    whole = np.minimum(edges.astype(int), image.shape[0] - 1)
    # The integral of the image from row 0 to each edge; its differences are the area sums.
    integral = np.zeros((image.shape[0] + 1, image.shape[1]))
    np.cumsum(image, axis=0, dtype=np.float64, out=integral[1:])
    at_edges = integral[whole] + (edges - whole)[:, None] * image[whole]
    return np.diff(at_edges, axis=0) / span
