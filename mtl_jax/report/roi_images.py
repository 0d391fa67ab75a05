"""Encode ROIs and maps as small images in a page or a figure."""

import base64
import io

import numpy as np
from PIL import Image

THUMBNAIL = 64  # side of an ROI in a tiled image, in pixels
N_COLUMNS = 40  # ROIs in a row of a tiled image


def data_url(gray: np.ndarray, quality: int) -> str:
    """Return a uint8 image (h, w) or (h, w, 3) as a JPEG in a data URL."""
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def tile_rois(images: np.ndarray) -> np.ndarray:
    """Return all ROIs (n, s, s) uint8 as thumbnails in one image, N_COLUMNS in a row.

    A page with one image of thousands of ROIs loads faster than a page with thousands of images.
    """
    n, side = len(images), images.shape[1] // THUMBNAIL
    small = images.reshape(n, THUMBNAIL, side, THUMBNAIL, side).mean((2, 4))
    rows = -(-n // N_COLUMNS)
    tiles = np.zeros((rows * N_COLUMNS, THUMBNAIL, THUMBNAIL))
    tiles[:n] = small
    grid = tiles.reshape(rows, N_COLUMNS, THUMBNAIL, THUMBNAIL).transpose(0, 2, 1, 3)
    return np.uint8(np.rint(grid.reshape(rows * THUMBNAIL, N_COLUMNS * THUMBNAIL)))


def diverging_colours(values: np.ndarray) -> np.ndarray:
    """Map values to colours (..., 3) uint8: 0 is white, 1 and above red, -1 and below blue."""
    share = np.clip(values, -1, 1)[..., None]
    red, blue, white = (np.array(c, float) for c in ((178, 24, 43), (33, 102, 172), (250,) * 3))
    end = np.where(share > 0, red, blue)
    return np.uint8(np.rint(white + np.abs(share) * (end - white)))


def signed_gray(values: np.ndarray) -> np.ndarray:
    """Map values to gray (...) uint8: 0 is middle gray, 1 and above white, -1 and below black."""
    return np.uint8(np.rint(127.5 + 127.5 * np.clip(values, -1, 1)))
