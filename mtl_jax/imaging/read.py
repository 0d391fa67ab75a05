"""Stored gray of one image file of any known kind. Knows no pixel size and no film."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from mtl_jax.imaging import dicom, ljpeg, pgm
from mtl_jax.imaging.stored import MAX_PIXELS, Stored
from mtl_jax.nouns import InputError

FLOAT_BITS = 12


def read_image(path: Path, frame: int = 0) -> tuple[np.ndarray, int]:
    """Stored gray (H, W) float32, and its bit depth: all of what `read_stored` reads."""
    stored = read_stored(path, frame)
    return stored.gray(), stored.bits


def read_stored(path: Path, frame: int = 0) -> Stored:
    """One image and its bit depth.

    The depth is what the file says: maxval of a PGM, BitsStored of a DICOM, bits a sample of PNG
    and TIFF, the type of an integer `.npy`. A float `.npy` or TIFF says nothing of the kind and is
    taken as 12-bit gray, 0 to 4095. DICOM MONOCHROME1 and TIFF white-is-zero are inverted, so that
    a larger value is always brighter on the screen.

    InputError, naming the file: it is missing, of an unknown kind, truncated, in colour, or has no
    such frame.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: unknown kind of image; known: {', '.join(sorted(READERS))}")
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    try:
        found = reader(path, frame)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    # Decoders raise many types on a damaged file; whichever it is, the file is at fault.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); fetch or export it again") from error
    stored = Stored(*found)
    if stored.values.dtype.kind == "f" and not np.isfinite(stored.values).all():
        raise InputError(f"{path}: holds values that are not finite")
    return stored


def _pgm(path: Path, frame: int) -> tuple[np.ndarray, int]:
    _only_frame(frame)
    return pgm.read(path, MAX_PIXELS)


def _ljpeg(path: Path, frame: int) -> tuple[np.ndarray, int]:
    _only_frame(frame)
    return ljpeg.read(path, MAX_PIXELS)


def _png(path: Path, frame: int) -> tuple[np.ndarray, int]:
    _only_frame(frame)
    with Image.open(path) as image:
        bits = {"1": 1, "L": 8, "I": 16, "I;16": 16, "I;16B": 16}.get(image.mode)
        if bits is None:
            raise InputError(f"colour or transparency (mode {image.mode}); save it as plain gray")
        _check_size(image.size)
        return np.asarray(image), bits


def _jpeg(path: Path, frame: int) -> tuple[np.ndarray, int]:
    _only_frame(frame)
    with Image.open(path, formats=("JPEG",)) as image:
        if image.mode not in ("L", "RGB"):
            raise InputError(f"colour (mode {image.mode}); save it as plain gray")
        _check_size(image.size)
        stored = np.asarray(image)
    if stored.ndim == 3:
        # Many programs store gray as three equal channels.
        if (stored != stored[..., :1]).any():
            raise InputError("colour; save it as plain gray")
        stored = stored[..., 0]
    return stored, 8


def _tiff(path: Path, frame: int) -> tuple[np.ndarray, int]:
    with tifffile.TiffFile(path) as file:
        if not 0 <= frame < len(file.pages):
            raise InputError(f"has {len(file.pages)} page(s), so frame {frame} is not there")
        page = file.pages[frame].aspage()
        white_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        black_is_zero = page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        if not (white_is_zero or black_is_zero) or len(page.shape) != 2:
            raise InputError("colour or more than one sample a pixel; save it as plain gray")
        _check_size(page.shape)
        stored = page.asarray()
    bits = FLOAT_BITS if stored.dtype.kind == "f" else page.bitspersample
    return _gray(stored, bits, inverted=white_is_zero)


def _npy(path: Path, frame: int) -> tuple[np.ndarray, int]:
    _only_frame(frame)
    # Mapping compares the header with the file's length before any memory is taken.
    stored = np.load(path, mmap_mode="r", allow_pickle=False)
    if stored.ndim != 2:
        raise InputError(f"has shape {stored.shape}; one gray image has (rows, columns)")
    _check_size(stored.shape)
    bits = FLOAT_BITS if stored.dtype.kind == "f" else 8 * stored.dtype.itemsize
    return _gray(stored, bits, inverted=False)


def _dicom(path: Path, frame: int) -> Stored:
    return dicom.read(path, frame, MAX_PIXELS)


def _gray(stored: np.ndarray, bits: int, inverted: bool) -> tuple[np.ndarray, int]:
    if stored.dtype == bool:
        stored, bits = stored.astype(np.uint8), 1
    if stored.dtype.kind not in "uf" or bits > 16:
        raise InputError(f"values of type {stored.dtype}; save as uint8, uint16 or float32")
    return ((1 << bits) - 1 - stored.astype(np.float32) if inverted else stored), bits


def _only_frame(frame: int) -> None:
    if frame != 0:
        raise InputError(f"holds one image, so frame {frame} is not there")


def _check_size(shape: tuple[int, ...]) -> None:
    if not 0 < shape[0] * shape[1] <= MAX_PIXELS:
        raise InputError(f"its header says {shape[0]}x{shape[1]} pixels; the most is {MAX_PIXELS}")


# What they return is the beginning, or all, of a Stored.
READERS: dict[str, Callable[[Path, int], tuple[np.ndarray, int] | Stored]] = {
    ".pgm": _pgm,
    ".png": _png,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".npy": _npy,
    ".dcm": _dicom,
    ".dicom": _dicom,
    ".ljpeg": _ljpeg,
}
