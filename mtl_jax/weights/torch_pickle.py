"""Read the pickle in a PyTorch file: storages and tensors as described, without their data."""

from dataclasses import dataclass
from functools import partial
from io import BytesIO
from mmap import mmap
from typing import Any

from mtl_jax.weights.restricted_pickle import Global, Rejected, Vocabulary, require_type
from mtl_jax.weights.restricted_pickle import read_pickle as read_restricted_pickle


@dataclass(frozen=True)
class Storage:
    """A block of `count` values, stored in the file under `key`."""

    kind: str  # FloatStorage, HalfStorage, ...
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; offset and strides in elements, as stated in the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pickle(stream: BytesIO | mmap) -> tuple[Any, dict[str, Storage]]:
    """Return the object at the position of the stream, and all storages in it by key."""
    storages: dict[str, Storage] = {}
    vocabulary = Vocabulary(
        BUILDERS,
        _is_storage,
        skips=SKIPPED_CLASSES.__contains__,
        persistent=partial(_storage, storages),
    )
    return read_restricted_pickle(stream, vocabulary), storages


def _is_storage(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    return module in ("torch", "torch.storage", "torch.cuda") and attribute.endswith("Storage")


def _storage(storages: dict[str, Storage], pid: Any) -> Storage:
    """Return the storage of a persistent id ('storage', type, key, device, count[, view])."""
    tag, kind, key, _, count, *view = require_type(pid, tuple)
    if tag != "storage" or any(part is not None for part in view):
        raise Rejected("a storage that is a view of another one")
    name = require_type(kind, Global).name.rpartition(".")[2]
    storage = Storage(name, require_type(key, str), require_type(count, int))
    if storages.setdefault(storage.key, storage) != storage:
        raise ValueError(f"two descriptions of storage {storage.key!a:.80}")
    return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    for value in (offset, *require_type(shape, tuple), *require_type(strides, tuple)):
        require_type(value, int)
    return Tensor(require_type(storage, Storage), offset, shape, strides)


# Classes that training scripts save beside the weights; their objects are skipped.
SKIPPED_CLASSES = frozenset(
    (
        "argparse.Namespace",
        "types.SimpleNamespace",
        "collections.Counter",
        "collections.defaultdict",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "_codecs.encode",
    )
)
BUILDERS = {
    "collections.OrderedDict": lambda pairs=(): dict(pairs),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.nn.parameter.Parameter": lambda data, *_: data,
    "torch.Size": lambda sizes: tuple(sizes),
}
