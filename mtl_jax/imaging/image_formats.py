"""Read the stored values of image files other than DICOM.

Each reader takes a path and the number of a frame, or None if it is not stated.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from mtl_jax.imaging import ljpeg, pgm
from mtl_jax.imaging.stored_image import MAX_PIXELS
from mtl_jax.types import InputError

FLOAT_BITS = 12
UPRIGHT = (None, 0, 1)  # some programs write 0 for an unknown orientation
ORIENTATION = 274  # tag of TIFF and EXIF
CHANNEL_MODES = ("LA", "RGB", "RGBA")  # modes of Pillow in which many programs store gray
PNG_BIT_DEPTH_OFFSET = 24
GRAY_TIFF = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)


class RawImage(NamedTuple):
    """Values (H, W) as stored, the bit depth that the file states, whether white is zero, why the
    values are not gray ('' if they are), and the largest bit depth that a table may state."""

    values: np.ndarray
    bits: int
    white_is_zero: bool = False
    error: str = ""
    max_bits: int | None = None


def check_single_frame(frame: int | None) -> None:
    """Raise InputError for a frame other than the first of a file that holds one image."""
    if frame not in (None, 0):
        raise InputError(f"holds one image, so frame {frame} does not exist")


def select_frame(frame: int | None, frames: int) -> int:
    """Return the number of the frame to read; None is an error in a file of several `frames`."""
    if frame is None and frames > 1:
        raise InputError(f"has {frames} frames: give frame, counted from 0")
    if not 0 <= (frame or 0) < frames:
        raise InputError(f"has {frames} frame(s), so frame {frame} (counted from 0) does not exist")
    return frame or 0


def _pgm(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    values, bits = pgm.read(path)
    # Some programs write the largest value as maxval, so a table may state more bits.
    return RawImage(values, bits, max_bits=8 * values.itemsize)


def _ljpeg(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    return RawImage(*ljpeg.read(path))


def _png(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"holds {image.n_frames} images; save each in its own file")
        bits = {"1": 1, "L": 8, "I": 16, "I;16": 16, "I;16B": 16}.get(image.mode, 8)
        gray = image.mode in ("1", "L", "I", "I;16", "I;16B", *CHANNEL_MODES)
        _check_size(image.size)
        _check_orientation(_exif_orientation(image))
        error = "" if gray else f"colour (mode {image.mode}); save it as plain gray"
        values = np.asarray(image).astype(np.uint16) if image.mode == "I" else np.asarray(image)
    if image.mode in CHANNEL_MODES:
        data = path.read_bytes()
        if data[PNG_BIT_DEPTH_OFFSET] == 16:
            # Pillow keeps only the upper 8 of 16 bits of such images.
            values, bits = imagecodecs.png_decode(data), 16
    return RawImage(_one_channel(values), bits, error=error)


def _jpeg(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    with Image.open(path, formats=("JPEG",)) as image:
        if image.mode not in ("L", "RGB"):
            raise InputError(f"colour (mode {image.mode}); save it as plain gray")
        _check_size(image.size)
        _check_orientation(_exif_orientation(image))
        return RawImage(_one_channel(np.asarray(image)), 8)


def _tiff(path: Path, frame: int | None) -> RawImage:
    with tifffile.TiffFile(path) as file:
        page = _select_page(file, frame)
        _check_orientation(getattr(page.tags.get(ORIENTATION), "value", None))
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        gray = page.photometric in GRAY_TIFF or (white_is_zero and page.samplesperpixel == 1)
        planar = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        _check_size(page.shape[1:] if planar else page.shape)
        values = np.moveaxis(page.asarray(), 0, -1) if planar else page.asarray()
    error = "" if gray else "colour, or a palette; save it as plain gray"
    bits = FLOAT_BITS if values.dtype.kind == "f" else page.bitspersample
    return RawImage(_one_channel(values), bits, white_is_zero, error)


def _select_page(file: tifffile.TiffFile, frame: int | None) -> tifffile.TiffPage:
    """Return the page of a frame; reduced copies and masks of other pages are not frames."""
    pages = [page.aspage() for page in file.pages]
    frames = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages
    return frames[select_frame(frame, len(frames))]


def _npy(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    # Memory mapping checks the header against the file size before any memory is allocated.
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.ndim != 2:
        raise InputError(f"has shape {values.shape}; one gray image has (rows, columns)")
    _check_size(values.shape)
    return RawImage(values, FLOAT_BITS if values.dtype.kind == "f" else 8 * values.dtype.itemsize)


def _one_channel(values: np.ndarray) -> np.ndarray:
    """Return the values (H, W) of an image whose colour channels are equal and whose alpha channel
    is constant, as many programs store gray."""
    if values.ndim == 2:
        return values
    colours = values[..., : 3 if values.shape[-1] >= 3 else 1]
    alpha = values[..., colours.shape[-1] :]
    if values.ndim != 3 or (colours != colours[..., :1]).any() or np.unique(alpha).size > 1:
        raise InputError("colour or transparency; save it as plain gray")
    return colours[..., 0]


def _exif_orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data, for which Pillow raises exceptions of many types
        return None


def _check_orientation(orientation: Any) -> None:
    if orientation not in UPRIGHT:
        raise InputError(
            f"its orientation tag is {orientation}: viewers rotate or mirror the image, so the box"
            " is ambiguous; save it with rotated pixels and without the tag"
        )


def _check_size(shape: tuple[int, ...]) -> None:
    if not 0 < shape[0] * shape[1] <= MAX_PIXELS:
        raise InputError(
            f"its header states {shape[0]}x{shape[1]} pixels; the limit is {MAX_PIXELS}"
        )


READERS: dict[str, Callable[[Path, int | None], RawImage]] = {
    ".pgm": _pgm,
    ".png": _png,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".npy": _npy,
    ".ljpeg": _ljpeg,
}
