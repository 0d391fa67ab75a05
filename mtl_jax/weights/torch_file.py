"""Reads the state dict of a torch `.pth` file, zip or legacy form, without PyTorch.

Every size the file claims is checked against the file before memory is asked for.
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
from mtl_jax.weights.state_dict import SAVE, Unclear, choose
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
    """Return the tensors of a `.pth` file as torch.save writes it since 1.6: a zip archive."""
    return _guarded(_read_zip, path)


def read_torch_legacy(path: Path) -> Source:
    """Return the tensors of a `.pth` file of before torch 1.6: five pickles, then the numbers."""
    return _guarded(_read_legacy, path)


def _guarded(read: Callable[[Path], Source], path: Path) -> Source:
    try:
        # Text opcodes with a bad escape, which no torch file holds, make pickletools warn.
        with warnings.catch_warnings(action="error"):
            return read(path)
    except Unclear as error:
        raise InputError(f"{path}: {error}") from error
    except Rejected as error:
        raise InputError(
            f"{path}: asks for {error}; rejected, nothing was run (save only the state dict)"
        ) from error
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, RuntimeError, Warning) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else "ends too early"
        raise InputError(f"{path}: damaged torch file ({reason}); get it again") from error


def _read_zip(path: Path) -> Source:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if any(name.split("/")[-1] == "constants.pkl" for name in members):
            raise Unclear(f"is a TorchScript archive; {SAVE}")
        # torch.save compresses nothing, so honest entries together fit into their file.
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise Rejected("compressed entries, which torch.save never writes")
        if sum(info.file_size for info in members.values()) > path.stat().st_size:
            raise Rejected("entries that overlap each other")
        pickles = [name for name in members if name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1 or members[pickles[0]].file_size > MAX_PICKLE_BYTES:
            raise ValueError("no data.pkl, several, or one of more than 16 MiB")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise Rejected("big-endian numbers")
        content, storages = read_pickle(io.BytesIO(archive.read(pickles[0])))
        state, left_out = choose(content)
        needed = {tensor.storage.key for tensor in state.values()}
        blocks = {}
        for key, storage in storages.items():
            if key not in needed:
                continue
            member = members.get(f"{root}data/{key}")
            if member is None:
                raise ValueError(f"no entry for storage {key!a:.80}")
            _check_size(storage, member.file_size)
            blocks[key] = archive.read(member)
    return Source({name: _array(tensor, blocks) for name, tensor in state.items()}, left_out)


def _read_legacy(path: Path) -> Source:
    # A mapped file never hands out more than it holds, whatever length is asked of it.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        if read_pickle(stream)[0] != LEGACY_MAGIC or read_pickle(stream)[0] != LEGACY_PROTOCOL:
            raise ValueError("no torch magic number")
        system, _ = read_pickle(stream)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise Rejected("big-endian numbers")
        content, storages = read_pickle(stream)
        state, left_out = choose(content)
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
        raise Unclear(f"holds {storage.kind}, a type that NumPy lacks; save it as float32")
    return np.dtype(STORAGE_DTYPES[storage.kind])


def _check_size(storage: Storage, size: int) -> None:
    if storage.count * _dtype(storage).itemsize != size:
        raise ValueError(f"a tensor claims {storage.count} numbers, the file has {size} bytes")


def _array(tensor: Tensor, blocks: dict[str, bytes]) -> np.ndarray:
    """Return the tensor as a read-only view: as torch sees it, whatever its strides."""
    storage, shape, strides = tensor.storage, tensor.shape, tensor.strides
    if len(shape) != len(strides) or min((tensor.offset, *shape, *strides)) < 0:
        raise ValueError("a tensor with a negative size, offset or stride")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if prod(shape) > storage.count or (prod(shape) and last >= storage.count):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its {storage.count} numbers")
    dtype = _dtype(storage)
    steps = tuple(step * dtype.itemsize for step in strides)
    start = tensor.offset * dtype.itemsize if prod(shape) else 0
    return np.ndarray(shape, dtype, blocks[storage.key], start, steps)
