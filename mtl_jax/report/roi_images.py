"""ROIs as small pictures inside a page or a figure. Knows no finding."""

import base64
import io

import numpy as np
from PIL import Image

THUMB = 64  # pixels a side of an ROI in a sheet
ACROSS = 40  # ROIs in a row of a sheet


def data_url(gray: np.ndarray, quality: int = 85) -> str:
    """`gray`, (h, w) or (h, w, 3) uint8, as a JPEG in a data: address."""
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def sheet(pictures: np.ndarray) -> np.ndarray:
    """All ROIs (n, s, s) uint8 side by side, ACROSS in a row, THUMB pixels each, as one picture:
    a page with thousands of them loads as quickly as one with one."""
    n, side = len(pictures), pictures.shape[1] // THUMB
    small = pictures.reshape(n, THUMB, side, THUMB, side).mean((2, 4))
    rows = -(-n // ACROSS)
    filled = np.zeros((rows * ACROSS, THUMB, THUMB))
    filled[:n] = small
    grid = filled.reshape(rows, ACROSS, THUMB, THUMB).transpose(0, 2, 1, 3)
    return np.uint8(np.rint(grid.reshape(rows * THUMB, ACROSS * THUMB)))


def diverging(values: np.ndarray) -> np.ndarray:
    """(..., 3) uint8: 0 white, 1 and above red, -1 and below blue."""
    share = np.clip(values, -1, 1)[..., None]
    red, blue, white = (np.array(c, float) for c in ((178, 24, 43), (33, 102, 172), (250,) * 3))
    end = np.where(share > 0, red, blue)
    return np.uint8(np.rint(white + np.abs(share) * (end - white)))


def signed_gray(values: np.ndarray) -> np.ndarray:
    """(...) uint8: 0 middle gray, 1 and above white, -1 and below black."""
    return np.uint8(np.rint(127.5 + 127.5 * np.clip(values, -1, 1)))
