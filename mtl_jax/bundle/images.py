"""Render ROIs and attribution maps as PNG images."""

import io

import numpy as np
from PIL import Image

from mtl_jax.imaging.display import window
from mtl_jax.imaging.roi import GRAY_PER_COUNT

SIDE = 256  # pixels of an image; an ROI has 128
# Supports malignant, supports benign: distinct in hue and lightness, also for colour-blind readers.
MALIGNANT_COLOR, BENIGN_COLOR = np.array([255.0, 140.0, 0.0]), np.array([60.0, 150.0, 255.0])


def roi_png(counts: np.ndarray) -> bytes:
    """Return an ROI (128, 128) int16 as PNG, its middle 99% of gray values from black to white."""
    return _png(np.repeat(_gray(counts)[..., None], 3, axis=-1))


def attribution_png(counts: np.ndarray, attribution: np.ndarray) -> bytes:
    """Return an ROI overlaid with its attribution map (128, 128) as PNG.

    Orange supports malignant and blue supports benign. The map is smoothed over 6 pixels, and its
    99th percentile has full colour.
    """
    smoothed = smooth_map(attribution)
    strength = np.abs(smoothed) / max(float(np.percentile(np.abs(smoothed), 99)), 1e-12)
    share = np.clip(strength, 0, 1)[..., None] ** 0.7 * 0.75
    colour = np.where(smoothed[..., None] > 0, MALIGNANT_COLOR, BENIGN_COLOR)
    return _png(_gray(counts)[..., None] * (1 - share) + colour * share)


def _gray(counts: np.ndarray) -> np.ndarray:
    return 255 * window(counts * GRAY_PER_COUNT)


def smooth_map(attribution: np.ndarray) -> np.ndarray:
    """Return a map (128, 128) smoothed for display."""
    # Imported here because importing scikit-image takes a second, and only maps need it.
    from skimage.filters import gaussian

    return gaussian(attribution.astype(np.float64), sigma=3, preserve_range=True)


def _png(colour: np.ndarray) -> bytes:
    image = Image.fromarray(np.clip(np.rint(colour), 0, 255).astype(np.uint8))
    file = io.BytesIO()
    image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG", optimize=True)
    return file.getvalue()
