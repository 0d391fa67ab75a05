"""Read a NumPy `.npz` archive without pickle; check every size before memory is allocated."""

import zipfile
import zlib
from math import prod
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mtl_jax.types import InputError
from mtl_jax.weights.source import Source

DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    TokenError,  # raised for an array header that is not a Python literal
    SyntaxError,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
)
MAX_BYTES = 1 << 30  # twice the size of AlexNet with all layers in float64


def read_npz(path: Path) -> Source:
    """Return all arrays; raise InputError if one is damaged, has Python objects or is too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(info.file_size for info in archive.infolist())
            if total > MAX_BYTES:
                raise InputError(
                    f"{path}: unpacks to {total} bytes, more than {MAX_BYTES}; rejected"
                )
            for info in archive.infolist():
                _check_header(archive, info, path)
        with np.load(path, allow_pickle=False) as arrays:
            return Source({key: arrays[key] for key in arrays.files})
    except DAMAGE_ERRORS as error:
        raise InputError(f"{path}: damaged .npz archive; download it again") from error


def _check_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    if dtype.hasobject:
        raise InputError(
            f"{path}: {info.filename} has Python objects; rejected, no code was executed"
        )
    if min(shape, default=0) < 0:
        raise ValueError("negative size")
    if prod(shape) * dtype.itemsize > info.file_size:
        raise InputError(
            f"{path}: {info.filename} states {prod(shape)} values in {info.file_size} bytes; "
            "rejected"
        )
