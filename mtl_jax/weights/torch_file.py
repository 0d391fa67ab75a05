"""Read the state dict of a PyTorch `.pth` file, in zip or legacy form, without PyTorch.

Every size in the file is checked against the file before memory is allocated.
"""

import io
import mmap
import warnings
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from mtl_jax.types import InputError
from mtl_jax.weights.restricted_pickle import Rejected
from mtl_jax.weights.source import Source
from mtl_jax.weights.state_dict import CURE, AmbiguousCheckpoint, choose_state_dict
from mtl_jax.weights.torch_pickle import Storage, Tensor, read_pickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, MAGIC_NUMBER
LEGACY_PROTOCOL = 1001
MAX_PICKLE_BYTES = 16 << 20
STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def read_torch_zip(path: Path) -> Source:
    """Return the tensors of a `.pth` file of PyTorch 1.6 or later, a zip archive."""
    return _read(_read_zip, path)


def read_torch_legacy(path: Path) -> Source:
    """Return the tensors of a `.pth` file from before PyTorch 1.6: five pickles, then the data."""
    return _read(_read_legacy, path)


def _read(read: Callable[[Path], Source], path: Path) -> Source:
    """Return `read(path)`; raise InputError for every error that a file can cause."""
    try:
        # pickletools warns about text opcodes with a bad escape, which PyTorch does not write.
        with warnings.catch_warnings(action="error"):
            return read(path)
    except AmbiguousCheckpoint as error:
        raise InputError(f"{path}: {error}") from error
    except Rejected as error:
        raise InputError(
            f"{path}: requests {error}; rejected, no code was executed (save only the state dict)"
        ) from error
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, RuntimeError, Warning) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else "ends too early"
        raise InputError(f"{path}: damaged PyTorch file ({reason}); download it again") from error


def _read_zip(path: Path) -> Source:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if any(name.split("/")[-1] == "constants.pkl" for name in members):
            raise AmbiguousCheckpoint(f"is a TorchScript archive; {CURE}")
        # torch.save does not compress, so valid entries together are no larger than the file.
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise Rejected("compressed entries, which torch.save does not write")
        if sum(info.file_size for info in members.values()) > path.stat().st_size:
            raise Rejected("entries that overlap each other")
        pickles = [name for name in members if name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1 or members[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise ValueError("expected one data.pkl of at most 16 MiB")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise Rejected("big-endian numbers")
        content, storages = read_pickle(io.BytesIO(archive.read(pickles[0])))
        state, left_out = choose_state_dict(content)
        keys = {tensor.storage.key for tensor in state.values()}
        blocks = {}
        for key, storage in storages.items():
            if key not in keys:
                continue
            member = members.get(f"{root}data/{key}")
            if member is None:
                raise ValueError(f"no entry for storage {key!a:.80}")
            _check_size(storage, member.file_size)
            blocks[key] = archive.read(member)
    return Source({name: _array(tensor, blocks) for name, tensor in state.items()}, left_out)


def _read_legacy(path: Path) -> Source:
    # A memory-mapped file does not allocate memory for a wrong length.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        if read_pickle(stream)[0] != LEGACY_MAGIC or read_pickle(stream)[0] != LEGACY_PROTOCOL:
            raise ValueError("no PyTorch magic number")
        system, _ = read_pickle(stream)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise Rejected("big-endian numbers")
        content, storages = read_pickle(stream)
        state, left_out = choose_state_dict(content)
        keys, _ = read_pickle(stream)
        if not isinstance(keys, list) or sorted(keys) != sorted(storages):
            raise ValueError("its list of storages does not match its tensors")
        blocks = {}
        for key in keys:
            count = int.from_bytes(stream.read(8), "little", signed=True)
            size = count * _dtype(storages[key]).itemsize
            _check_size(storages[key], size)
            blocks[key] = stream.read(size)
            if len(blocks[key]) != size:
                raise ValueError("ends too early")
    return Source({name: _array(tensor, blocks) for name, tensor in state.items()}, left_out)


def _dtype(storage: Storage) -> np.dtype:
    if storage.kind not in STORAGE_DTYPES:
        raise AmbiguousCheckpoint(
            f"has {storage.kind}, a type that NumPy does not have; save it as float32"
        )
    return np.dtype(STORAGE_DTYPES[storage.kind])


def _check_size(storage: Storage, size: int) -> None:
    if storage.count * _dtype(storage).itemsize != size:
        raise ValueError(f"a tensor states {storage.count} values, the file has {size} bytes")


def _array(tensor: Tensor, blocks: dict[str, bytes]) -> np.ndarray:
    """Return the tensor as a read-only array with its strides and offset."""
    storage, shape, strides = tensor.storage, tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise ValueError("a tensor has a negative size, offset or stride")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if prod(shape) > storage.count or (prod(shape) and last >= storage.count):
        raise ValueError(f"a tensor of shape {shape} exceeds its {storage.count} values")
    dtype = _dtype(storage)
    byte_strides = tuple(step * dtype.itemsize for step in strides)
    offset = tensor.offset * dtype.itemsize if prod(shape) else 0
    return np.ndarray(shape, dtype, blocks[storage.key], offset, byte_strides)
