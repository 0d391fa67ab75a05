"""What the names in a torch pickle stand for: storages and tensors as claims, no numbers yet."""

from dataclasses import dataclass
from functools import partial
from io import BytesIO
from mmap import mmap
from typing import Any

from mtl_jax.weights.restricted_pickle import Global, Rejected, Vocabulary, typed
from mtl_jax.weights.restricted_pickle import read_pickle as read_plain


@dataclass(frozen=True)
class Storage:
    """A block of `count` numbers, stored elsewhere in the file under `key`."""

    kind: str  # FloatStorage, HalfStorage, ...
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A strided view of a storage; offset and strides in elements, as the file claims them."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pickle(stream: BytesIO | mmap) -> tuple[Any, dict[str, Storage]]:
    """Return the object at the stream's position and, by key, all storages that it mentions."""
    storages: dict[str, Storage] = {}
    vocabulary = Vocabulary(
        BUILDERS,
        _is_storage,
        opaque=PASSED_OVER.__contains__,
        persistent=partial(_storage, storages),
    )
    return read_plain(stream, vocabulary), storages


def _is_storage(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    return module in ("torch", "torch.storage", "torch.cuda") and attribute.endswith("Storage")


def _storage(storages: dict[str, Storage], pid: Any) -> Storage:
    """Return a torch storage's persistent id: ('storage', type, key, device, count[, view])."""
    tag, kind, key, _, count, *view = typed(pid, tuple)
    if tag != "storage" or any(part is not None for part in view):
        raise Rejected("a storage that is a view of another one")
    name = typed(kind, Global).name.rpartition(".")[2]
    storage = Storage(name, typed(key, str), typed(count, int))
    if storages.setdefault(storage.key, storage) != storage:
        raise ValueError(f"two claims on storage {storage.key!a:.80}")
    return storage


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    for value in (offset, *typed(shape, tuple), *typed(strides, tuple)):
        typed(value, int)
    return Tensor(typed(storage, Storage), offset, shape, strides)


# Of what training scripts keep beside the weights: neither made nor looked into.
PASSED_OVER = frozenset(
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
