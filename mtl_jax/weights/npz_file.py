"""Reads a NumPy `.npz` archive without pickle, each size checked before memory is asked for.

It returns the arrays by name.
"""

import zipfile
import zlib
from math import prod
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mtl_jax.types import InputError
from mtl_jax.weights.source import Source

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    TokenError,  # from an array header that is no Python literal
    SyntaxError,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
)
MAX_BYTES = 1 << 30  # AlexNet with every layer in float64 is half of this


def read_npz(path: Path) -> Source:
    """Return all arrays of the archive; InputError where one is damaged, an object or too large."""
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
    except DAMAGE as error:
        raise InputError(f"{path}: damaged .npz archive; get the file again") from error


def _check_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    if dtype.hasobject:
        raise InputError(f"{path}: {info.filename} holds Python objects; rejected, nothing was run")
    if min(shape, default=0) < 0:
        raise ValueError("negative size")
    if prod(shape) * dtype.itemsize > info.file_size:
        raise InputError(
            f"{path}: {info.filename} claims {prod(shape)} numbers in {info.file_size} bytes; "
            "rejected"
        )
