"""Stored gray of one image file of any known kind. Knows no pixel size and no film."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from mtl_jax.imaging import dicom, image_formats
from mtl_jax.imaging.image_formats import FLOAT_BITS, RawImage
from mtl_jax.imaging.stored_image import MAX_PIXELS, StoredImage, check_fit
from mtl_jax.types import InputError

__all__ = ["FLOAT_BITS", "READERS", "read_image", "read_raw", "read_stored"]
READERS = (
    *image_formats.READERS,
    *dicom.SUFFIXES,
)  # known suffixes; a DICOM file may have any other
Result = TypeVar("Result")


def read_image(
    path: Path, frame: int | None = None, bits: int | None = None
) -> tuple[np.ndarray, int]:
    """Stored gray (H, W) float32, and its bit depth: all of what `read_stored` reads."""
    stored = read_stored(path, frame, bits)
    return stored.gray(), stored.bits


def read_stored(path: Path, frame: int | None = None, bits: int | None = None) -> StoredImage:
    """One image, its bit depth, the facts of its header and what was noticed about them.

    The depth is `bits` where a table gives it, else what the file says: maxval of a PGM,
    BitsStored of a DICOM, bits a sample of PNG and TIFF, the type of an integer `.npy`. A float
    `.npy` or TIFF says nothing of the kind and is taken as 12-bit gray, 0 to 4095. DICOM
    MONOCHROME1 and TIFF white-is-zero are inverted within that depth, so that a larger value is
    always brighter on the screen. A DICOM file is known by its content, whatever its name.

    InputError, naming the file: it is missing, of an unknown kind, truncated, in colour, turned by
    an orientation tag, has several frames while `frame` is None, has no such frame, or cannot have
    that depth.
    """
    if dicom.is_dicom(path):
        return _named(path, lambda: dicom.read(path, frame, MAX_PIXELS, bits))
    stored = _named(path, lambda: _stored(_reader(path)(path, frame), bits))
    if stored.values.dtype.kind == "f" and not np.isfinite(stored.values).all():
        raise InputError(f"{path}: holds values that are not finite")
    return stored


def read_raw(path: Path) -> np.ndarray:
    """The values (H, W) as the file of one image holds them, of any type, as a mask's are: nothing
    is inverted, a palette is not looked up, and no rule on gray is applied.

    InputError as for `read_stored`; colour of unequal channels, and several frames, are no mask.
    """
    if dicom.is_dicom(path):
        return _named(path, lambda: dicom.read_values(path, MAX_PIXELS))
    return _named(path, lambda: _reader(path)(path, None).values)


def _reader(path: Path) -> Callable[[Path, int | None], RawImage]:
    reader = image_formats.READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"unknown kind of image; known: {', '.join(sorted(READERS))}, and DICOM of any name"
            " (DICM at byte 128)"
        )
    return reader


def _named(path: Path, read: Callable[[], Result]) -> Result:
    """What `read` returns, any error of it as one line that names the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    try:
        return read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    # Decoders raise many types on a damaged file; whichever it is, the file is invalid.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); fetch or export it again") from error


def _stored(raw: RawImage, bits: int | None) -> StoredImage:
    values, depth = raw.values, raw.bits
    if raw.error:
        raise InputError(raw.error)
    if values.dtype == bool:
        values, depth = values.astype(np.uint8), 1
    if values.dtype.kind not in "uf" or depth > 16:
        raise InputError(f"values of type {values.dtype}; save as uint8, uint16 or float32")
    floats = values.dtype.kind == "f"
    if bits is not None and not floats and bits > (raw.max_bits or depth):
        raise InputError(f"bits {bits} was given, but the file holds gray of {depth} bits")
    depth = bits or depth
    if not raw.white_is_zero:
        return StoredImage(values, depth)
    if floats:
        raise InputError("float gray with white as zero has no known white; save black as zero")
    check_fit(values, depth)
    table = np.arange((1 << depth) - 1, -1, -1, dtype=np.float32)
    return StoredImage(values, depth, table, transformed=True)
