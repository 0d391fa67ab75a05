"""Read the stored gray of an image file of any supported format."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from mtl_jax.imaging import dicom, image_formats
from mtl_jax.imaging.image_formats import RawImage
from mtl_jax.imaging.stored_image import StoredImage, check_fit
from mtl_jax.types import InputError

# Supported suffixes; a DICOM file may have any other.
READERS = (*image_formats.READERS, *dicom.SUFFIXES)
Result = TypeVar("Result")


def read_image(
    path: Path, frame: int | None = None, bits: int | None = None
) -> tuple[np.ndarray, int]:
    """Return the stored gray (H, W) float32 and its bit depth, as `read_stored` reads them."""
    stored = read_stored(path, frame, bits)
    return stored.gray(), stored.bits


def read_stored(path: Path, frame: int | None = None, bits: int | None = None) -> StoredImage:
    """Return one image with its bit depth, header attributes and notes.

    The depth is `bits` if a lut states it, else that of the file: maxval of a PGM, BitsStored of
    DICOM, bits per sample of PNG and TIFF, the type of an integer `.npy`. A float `.npy` or TIFF
    states no depth and is read as 12-bit gray, 0 to 4095. DICOM MONOCHROME1 and TIFF white-is-zero
    are inverted within that depth, so that larger values are always brighter. DICOM files are
    recognized by their content, whatever their suffix.

    Parameters
    ----------
    path
        An image file.
    frame
        Number of the frame, from 0; required for a file of several frames.
    bits
        Bit depth stated by a lut, or None.

    Raises
    ------
    InputError
        Names the file: it is missing, of an unknown format, truncated, in colour, rotated by an
        orientation tag, has several frames while `frame` is None, has no such frame, or cannot have
        that depth.
    """
    if dicom.is_dicom(path):
        return _read_named(path, lambda: dicom.read(path, frame, bits))
    stored = _read_named(path, lambda: _make_stored(_find_reader(path)(path, frame), bits))
    if stored.values.dtype.kind == "f" and not np.isfinite(stored.values).all():
        raise InputError(f"{path}: holds values that are not finite")
    return stored


def read_raw(path: Path) -> np.ndarray:
    """Return the stored values (H, W) of any type, for masks: no inversion, palette or checks."""
    if dicom.is_dicom(path):
        return _read_named(path, lambda: dicom.read_values(path))
    return _read_named(path, lambda: _find_reader(path)(path, None).values)


def _find_reader(path: Path) -> Callable[[Path, int | None], RawImage]:
    reader = image_formats.READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"unknown image format; supported: {', '.join(sorted(READERS))}, and DICOM of any name"
            " (DICM at byte 128)"
        )
    return reader


def _read_named(path: Path, read: Callable[[], Result]) -> Result:
    """Return what `read` returns; raise any of its errors as one line that names the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    try:
        return read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    # Decoders raise exceptions of many types on a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); fetch or export it again") from error


def _make_stored(raw: RawImage, bits: int | None) -> StoredImage:
    values, depth = raw.values, raw.bits
    if raw.error:
        raise InputError(raw.error)
    if values.dtype == bool:
        values, depth = values.astype(np.uint8), 1
    if values.dtype.kind not in "uf" or depth > 16:
        raise InputError(f"values of type {values.dtype}; save as uint8, uint16 or float32")
    is_float = values.dtype.kind == "f"
    if bits is not None and not is_float and bits > (raw.max_bits or depth):
        raise InputError(f"bits {bits} is invalid: the file stores {depth} bits; correct bits")
    depth = bits or depth
    if not raw.white_is_zero:
        return StoredImage(values, depth)
    if is_float:
        raise InputError("float gray with white as zero is ambiguous; save it with black as zero")
    check_fit(values, depth)
    lut = np.arange((1 << depth) - 1, -1, -1, dtype=np.float32)
    return StoredImage(values, depth, lut, transformed=True)
