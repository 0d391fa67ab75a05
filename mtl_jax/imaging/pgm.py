"""Read binary PGM (P5) images."""

import re
from pathlib import Path

import numpy as np

from mtl_jax.imaging.stored_image import MAX_PIXELS
from mtl_jax.types import InputError

_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P5" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")
_HEADER_BYTES = 4096


def read(path: Path) -> tuple[np.ndarray, int]:
    """Return the stored gray (H, W) uint8 or uint16 and the bit depth that holds maxval.

    The header must match the file size to the byte: this is checked before memory is allocated.
    """
    with path.open("rb") as file:
        match = _HEADER.match(file.read(_HEADER_BYTES))
        if match is None:
            raise InputError("no binary PGM header (P5, width, height, maxval) at its start")
        width, height, maxval = (int(number) for number in match.groups())
        if not 0 < width * height <= MAX_PIXELS or not 0 < maxval <= 65535:
            raise InputError(f"the PGM header is invalid: {width}x{height}, maxval {maxval}")
        # Netpbm stores two bytes, the high one first, if maxval exceeds one byte.
        dtype = np.dtype(">u2") if maxval > 255 else np.dtype("u1")
        n_bytes = path.stat().st_size - match.end()
        expected = width * height * dtype.itemsize
        if n_bytes != expected:
            kind = "truncated" if n_bytes < expected else "too long"
            raise InputError(
                f"{kind}: the PGM header states {expected} bytes of pixels, the file has {n_bytes};"
                " download it again"
            )
        file.seek(match.end())
        gray = np.frombuffer(file.read(expected), dtype).reshape(height, width)
    if gray.max() > maxval:
        raise InputError(f"gray {gray.max()} exceeds the PGM header's maxval {maxval}")
    return gray, maxval.bit_length()
