"""Reads the layers of a Keras `.h5`, `.weights.h5` or `.keras` file. It needs the extra `formats`.

Only numbers are read: neither the model's description, which can hold code, nor any other file that
this one points to. It knows no shapes of AlexNet: `table` does.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.nouns import InputError

MOST_BYTES = 1 << 30
WEIGHTS = "model.weights.h5"  # the member of a .keras archive
SKIPPED = ("optimizer_weights", "optimizer")


def read_keras_h5(path: Path) -> dict[str, np.ndarray]:
    """Arrays 'conv1/kernel' (row, column, in, out), 'fc1/kernel' (in, out) ... in the layers'
    order."""
    return _read(path, path)


def read_keras_zip(path: Path) -> dict[str, np.ndarray]:
    """As `read_keras_h5`, from the archive that Keras 3 writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(WEIGHTS)
            if info.file_size > MOST_BYTES:
                raise InputError(f"{path}: unpacks to {info.file_size} bytes; refused")
            with archive.open(info) as member:
                content = member.read(info.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: damaged .keras archive; get it again") from error
    return _read(io.BytesIO(content), path)


def _read(file: Path | io.BytesIO, path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: a Keras file needs: pip install 'mtl_jax[formats]'") from error
    try:
        with h5py.File(file, "r") as opened:
            found: list[tuple[str, np.ndarray]] = []
            _collect(opened, "", found, h5py, path)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else "not readable"
        raise InputError(f"{path}: damaged Keras file ({reason}); get it again") from error
    return _paired(found)


def _collect(
    group: Any, place: str, found: list[tuple[str, np.ndarray]], h5py: Any, path: Path
) -> None:
    """Every dataset with its place, in order: that of layer_names where it is said, else of the
    names, 'conv2d_10' behind 'conv2d_9'."""
    said = [
        n.decode() if isinstance(n, bytes) else str(n) for n in group.attrs.get("layer_names", ())
    ]
    for name in said or sorted(group, key=_numbered):
        if name in SKIPPED or name not in group:
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InputError(f"{path}: {place}/{name} points elsewhere; refused, nothing was read")
        item = group[name]
        if isinstance(item, h5py.Group):
            if place.count("/") > 16:
                raise InputError(f"{path}: nested too deep; refused")
            _collect(item, f"{place}/{name}", found, h5py, path)
        elif isinstance(item, h5py.Dataset):
            found.append((place, _numbers(item, f"{place}/{name}", path)))


def _numbers(item: Any, name: str, path: Path) -> np.ndarray:
    if item.is_virtual or item.external:
        raise InputError(f"{path}: {name!a:.80} lies in another file; refused")
    stored = item.id.get_storage_size()
    if item.dtype.hasobject or item.dtype.kind not in "fiu":
        return np.zeros(0, np.float32)
    if item.size * item.dtype.itemsize > max(1000 * stored, 64):
        raise InputError(
            f"{path}: {name!a:.80} claims {item.size} numbers in {stored} bytes; refused"
        )
    if item.size * item.dtype.itemsize > MOST_BYTES:
        raise InputError(f"{path}: {name!a:.80} is larger than {MOST_BYTES} bytes; refused")
    return np.asarray(item[()])


def _paired(found: list[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Kernels, and the vector beside each as its bias."""
    arrays: dict[str, np.ndarray] = {}
    count = {"conv": 0, "fc": 0}
    for place, kernel in found:
        if kernel.ndim not in (2, 4):
            continue
        kind = "conv" if kernel.ndim == 4 else "fc"
        count[kind] += 1
        arrays[f"{kind}{count[kind]}/kernel"] = kernel
        beside = [a for at, a in found if at == place and a.shape == kernel.shape[-1:]]
        if beside:
            arrays[f"{kind}{count[kind]}/bias"] = beside[0]
    return arrays


def _numbered(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if number.isdigit() and stem else (name, 0)
