"""Draw one image with the boxes of its lesions, and their ROIs beside it, for a contact sheet."""

import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mtl_jax.imaging.display import window
from mtl_jax.imaging.roi import GRAY_PER_COUNT
from mtl_jax.types import LesionView

SIDE = 384  # pixels of the longer side of the image
ROI_SIDE = 256
GAP = 8
BOX_COLOR, FIELD_COLOR = (255, 140, 0), (90, 170, 255)
CROSS = 6  # half the size of the cross that marks a lesion without an extent
QUALITY = 80


def draw(
    gray: np.ndarray,
    shape: Sequence[int],
    views: Sequence[LesionView],
    rois: np.ndarray,
    extent_mm: float,
) -> bytes:
    """Return the strip as a JPEG file: the image, then the ROIs in the order of `views`.

    Parameters
    ----------
    gray
        (h, w) gray of the image, every n-th row and column of it.
    shape
        Rows and columns of the stored image.
    views
        The lesions in it; orange boxes, or crosses for centres, with numbers from 1. A blue square
        shows the field of the ROI.
    rois
        (n, 128, 128) counts, after background correction.
    extent_mm
        Side of the field.
    """
    height_um, width_um = (size * um for size, um in zip(shape, views[0].pixel_um, strict=True))
    scale = SIDE / max(height_um, width_um)  # pixels of the strip in a µm
    size = max(1, round(width_um * scale)), max(1, round(height_um * scale))
    picture = _to_image(gray).resize(size, Image.Resampling.BILINEAR)
    width = size[0] + len(rois) * (ROI_SIDE + GAP)
    strip = Image.new("RGB", (width, max(size[1], ROI_SIDE)), "black")
    strip.paste(picture, (0, 0))
    pen = ImageDraw.Draw(strip)
    for number, (view, roi) in enumerate(zip(views, rois, strict=True), start=1):
        _draw_box(pen, view, scale, str(number), size, extent_mm)
        left = size[0] + GAP + (number - 1) * (ROI_SIDE + GAP)
        shown = _to_image(roi * np.float32(GRAY_PER_COUNT))
        strip.paste(shown.resize((ROI_SIDE, ROI_SIDE), Image.Resampling.BILINEAR), (left, 0))
        _draw_number(pen, (left + 6, 4), str(number))
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read: the image may show a name."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)


def _draw_box(
    pen: ImageDraw.ImageDraw,
    view: LesionView,
    scale: float,
    number: str,
    size: tuple[int, int],
    extent_mm: float,
) -> None:
    """Draw the lesion and the field of its ROI; `scale` is pixels of the strip in a µm."""
    top, left, bottom, right = (
        edge * um * scale for edge, um in zip(view.box, view.pixel_um * 2, strict=True)
    )
    row, column = (top + bottom) / 2, (left + right) / 2
    half = extent_mm * 1000 * scale / 2
    pen.rectangle((column - half, row - half, column + half, row + half), outline=FIELD_COLOR)
    if bottom > top and right > left:
        pen.rectangle((left, top, right, bottom), outline=BOX_COLOR, width=2)
    else:
        pen.line((column - CROSS, row, column + CROSS, row), BOX_COLOR, 2)
        pen.line((column, row - CROSS, column, row + CROSS), BOX_COLOR, 2)
    # Beside the lesion: the fields of several lesions overlap.
    beyond = max(right, column + CROSS) + 3
    corner = min(max(beyond, 0), size[0] - 12), min(max(top - 4, 0), size[1] - 16)
    _draw_number(pen, corner, number)


def _draw_number(pen: ImageDraw.ImageDraw, corner: tuple[float, float], number: str) -> None:
    pen.text(corner, number, BOX_COLOR, _font(), stroke_width=2, stroke_fill="black")


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(14)


def _to_image(gray: np.ndarray) -> Image.Image:
    return Image.fromarray((255 * window(gray)).astype(np.uint8))
