"""Values as image files other than DICOM hold them. Makes no gray of them and knows no pixel size.

Each reader takes a path and the number of a frame, None where nobody states one.
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
UPRIGHT = (None, 0, 1)  # 0 is written by programs that know nothing of the tag
ORIENTATION = 274  # of TIFF and EXIF alike
OF_CHANNELS = ("LA", "RGB", "RGBA")  # modes of Pillow in which many programs store gray
PNG_BITS_AT = 24  # byte of a PNG
GRAY_TIFF = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)


class RawImage(NamedTuple):
    """Values (H, W) as stored, the bit depth that the file states, whether white is zero, why they
    are no gray ('' where they are), and the most bits that a table may give for them."""

    values: np.ndarray
    bits: int
    white_is_zero: bool = False
    error: str = ""
    max_bits: int | None = None


def check_single_frame(frame: int | None) -> None:
    """Reject any frame but the first of a file that holds one image."""
    if frame not in (None, 0):
        raise InputError(f"holds one image, so frame {frame} is not there")


def select_frame(frame: int | None, frames: int) -> int:
    """Return the frame to be read of a file with `frames`; InputError where several are there and
    none is stated, or where it is not there."""
    if frame is None and frames > 1:
        raise InputError(f"has {frames} frames: give frame, counted from 0")
    if not 0 <= (frame or 0) < frames:
        raise InputError(f"has {frames} frame(s), so frame {frame} (counted from 0) is not there")
    return frame or 0


def _pgm(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    values, bits = pgm.read(path, MAX_PIXELS)
    # Some programs write the largest value as maxval: a table may know better.
    return RawImage(values, bits, max_bits=8 * values.itemsize)


def _ljpeg(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    return RawImage(*ljpeg.read(path, MAX_PIXELS))


def _png(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise InputError(f"holds {image.n_frames} images; save each as a file of its own")
        bits = {"1": 1, "L": 8, "I": 16, "I;16": 16, "I;16B": 16}.get(image.mode, 8)
        gray = image.mode in ("1", "L", "I", "I;16", "I;16B", *OF_CHANNELS)
        _check_size(image.size)
        _check_orientation(_exif_orientation(image))
        error = "" if gray else f"colour (mode {image.mode}); save it as plain gray"
        values = np.asarray(image).astype(np.uint16) if image.mode == "I" else np.asarray(image)
    if image.mode in OF_CHANNELS and _png_bits(path) == 16:
        # Pillow keeps the upper 8 of 16 bits of such images.
        values, bits = imagecodecs.png_decode(path.read_bytes()), 16
    return RawImage(_one_channel(values), bits, error=error)


def _png_bits(path: Path) -> int:
    """The bits a sample that the header of a PNG states."""
    with path.open("rb") as file:
        return file.read(PNG_BITS_AT + 1)[PNG_BITS_AT]


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
        page = _full_page(file, frame)
        _check_orientation(getattr(page.tags.get(ORIENTATION), "value", None))
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        gray = page.photometric in GRAY_TIFF or (white_is_zero and page.samplesperpixel == 1)
        # Channels may lie one after the other.
        first = page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        _check_size(page.shape[1:] if first else page.shape)
        values = np.moveaxis(page.asarray(), 0, -1) if first else page.asarray()
    error = "" if gray else "colour, or a palette; save it as plain gray"
    bits = FLOAT_BITS if values.dtype.kind == "f" else page.bitspersample
    return RawImage(_one_channel(values), bits, white_is_zero, error)


def _full_page(file: tifffile.TiffFile, frame: int | None) -> tifffile.TiffPage:
    """The page of a frame; reduced copies and masks of other pages are no frames."""
    pages = [page.aspage() for page in file.pages]
    whole = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages
    return whole[select_frame(frame, len(whole))]


def _npy(path: Path, frame: int | None) -> RawImage:
    check_single_frame(frame)
    # Mapping compares the header with the file's length before any memory is taken.
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.ndim != 2:
        raise InputError(f"has shape {values.shape}; one gray image has (rows, columns)")
    _check_size(values.shape)
    return RawImage(values, FLOAT_BITS if values.dtype.kind == "f" else 8 * values.dtype.itemsize)


def _one_channel(values: np.ndarray) -> np.ndarray:
    """Values (H, W) of an image whose colour channels are all equal, as many programs store gray,
    and which hides nothing."""
    if values.ndim == 2:
        return values
    colours = values[..., : 3 if values.shape[-1] >= 3 else 1]
    hidden = values[..., colours.shape[-1] :]
    if values.ndim != 3 or (colours != colours[..., :1]).any() or np.unique(hidden).size > 1:
        raise InputError("colour or transparency; save it as plain gray")
    return colours[..., 0]


def _exif_orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # of many types: damaged EXIF says nothing
        return None


def _check_orientation(orientation: Any) -> None:
    if orientation not in UPRIGHT:
        raise InputError(
            f"its orientation tag is {orientation}: viewers turn or mirror it, and the box may be"
            " of either; save it with its pixels turned, without the tag"
        )


def _check_size(shape: tuple[int, ...]) -> None:
    if not 0 < shape[0] * shape[1] <= MAX_PIXELS:
        raise InputError(f"its header says {shape[0]}x{shape[1]} pixels; the most is {MAX_PIXELS}")


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
