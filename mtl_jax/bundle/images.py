"""ROIs and maps of evidence as pictures for people. It computes no score."""

import io

import numpy as np
from PIL import Image

from mtl_jax.imaging.roi import GRAY_PER_COUNT

SIDE = 256  # pixels of a picture; an ROI has 128
# Speaks for malignant, for benign: apart in hue and in lightness, for readers of any colour sight.
MALIGNANT_COLOR, BENIGN_COLOR = np.array([255.0, 140.0, 0.0]), np.array([60.0, 150.0, 255.0])


def roi_png(counts: np.ndarray) -> bytes:
    """An ROI (128, 128) int16 as PNG, black to white over the middle 99 % of its gray."""
    return _png(np.repeat(_gray(counts)[..., None], 3, axis=-1))


def attribution_png(counts: np.ndarray, found: np.ndarray) -> bytes:
    """The ROI under its map (128, 128), as PNG: orange speaks for malignant, blue for benign.

    Smoothed over 1.2 mm, for single pixels mean little; full colour at the map's 99th percentile.
    """
    even = smooth_map(found)
    strength = np.abs(even) / max(float(np.percentile(np.abs(even), 99)), 1e-12)
    share = np.clip(strength, 0, 1)[..., None] ** 0.7 * 0.75
    colour = np.where(even[..., None] > 0, MALIGNANT_COLOR, BENIGN_COLOR)
    return _png(_gray(counts)[..., None] * (1 - share) + colour * share)


def _gray(counts: np.ndarray) -> np.ndarray:
    gray = counts * GRAY_PER_COUNT
    low, high = np.percentile(gray, (0.5, 99.5))
    return 255 * np.clip((gray - low) / max(float(high - low), 1.0), 0, 1)


def smooth_map(found: np.ndarray) -> np.ndarray:
    """A map (128, 128) as it is shown."""
    # Imported here: scikit-image takes a second, and scoring without maps needs none of it.
    from skimage.filters import gaussian

    return gaussian(found.astype(np.float64), sigma=3, preserve_range=True)


def _png(colour: np.ndarray) -> bytes:
    picture = Image.fromarray(np.clip(np.rint(colour), 0, 255).astype(np.uint8))
    file = io.BytesIO()
    picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG", optimize=True)
    return file.getvalue()
