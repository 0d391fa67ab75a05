"""Images brought to one pixel size by averaging. Never interpolates to a finer grid."""

import numpy as np

from mtl_jax.nouns import InputError

TOLERANCE = 1e-3  # spacings in headers are rounded: 0.1 % is the same pixel size


def block(pixel_um: tuple[float, float], target_um: float = 200.0) -> tuple[float, float]:
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
    rows, columns = block(pixel_um, target_um)
    if image.shape[0] < rows or image.shape[1] < columns:
        raise InputError(f"an image of {image.shape} pixels does not fill one {target_um:g} um")
    return _average(_average(image, rows).T, columns).T.astype(np.float32)


def _average(image: np.ndarray, span: float) -> np.ndarray:
    """Means over consecutive stretches of `span` rows, float64 (H / span, W)."""
    if span == 1.0:
        return image
    edges = np.arange(int(image.shape[0] / span + 1e-9) + 1) * span
    whole = np.minimum(edges.astype(int), image.shape[0] - 1)
    # The integral of the image from row 0 to each edge; its differences are the area sums.
    integral = np.zeros((image.shape[0] + 1, image.shape[1]))
    np.cumsum(image, axis=0, dtype=np.float64, out=integral[1:])
    at_edges = integral[whole] + (edges - whole)[:, None] * image[whole]
    return np.diff(at_edges, axis=0) / span
