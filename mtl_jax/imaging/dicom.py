"""Stored gray and pixel spacing of one DICOM mammogram. Applies no look-up table and no logarithm.

Nothing of the patient leaves this module: only pixels, bit depth and spacing are returned.
"""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import pixel_array

from mtl_jax.nouns import InputError

# The detector's own spacing comes first and undivided by any magnification: the paper works in the
# detector plane, and a calibrated PixelSpacing is there for some devices only.
SPACING_TAGS = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")


def read(path: Path, frame: int, max_pixels: int) -> tuple[np.ndarray, int]:
    """Stored gray (H, W) of one frame and BitsStored; MONOCHROME1 is inverted: bright is dense.

    pydicom clears bits above BitsStored (old overlays). Rescale slope, VOI and presentation look-up
    tables are left alone: this is stored gray. InputError gives the reason; the caller names the
    file.
    """
    header = pydicom.dcmread(path)
    kind = str(header.PhotometricInterpretation)
    if kind not in ("MONOCHROME1", "MONOCHROME2") or header.SamplesPerPixel != 1:
        raise InputError(f"colour ({kind}); a mammogram must be MONOCHROME1 or MONOCHROME2")
    if header.PixelRepresentation != 0:
        raise InputError("signed pixels (PixelRepresentation 1) are not stored gray")
    if not 0 < header.Rows * header.Columns <= max_pixels:
        raise InputError(f"its header says {header.Columns}x{header.Rows} pixels")
    frames = int(header.get("NumberOfFrames") or 1)
    if not 0 <= frame < frames:
        raise InputError(f"has {frames} frame(s), so frame {frame} (counted from 0) is not there")
    bits = int(header.BitsStored)
    top = (1 << bits) - 1
    gray = pixel_array(header, index=frame)
    return (top - gray if kind == "MONOCHROME1" else gray), bits


def spacing(path: Path) -> tuple[tuple[float, float], str] | None:
    """Pixel size (row, column) in um and the header field it is from; None where none says it.

    A damaged file or a size that is not positive is an InputError that names the file.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(SPACING_TAGS))
        for tag in SPACING_TAGS:
            if header.get(tag):
                row, column = (1000.0 * float(value) for value in header.get(tag))
                break
        else:
            return None
    # pydicom raises many types on a damaged header; whichever it is, the file is at fault.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: its DICOM header cannot be read ({reason})") from error
    if not (row > 0 and column > 0):
        raise InputError(f"{path}: {tag} is {row} x {column} um; give pixel_um instead")
    return (row, column), tag
