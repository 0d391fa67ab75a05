"""Vocabulary for pickles of NumPy arrays of Python 2 and 3; no code in them is executed."""

from math import prod
from typing import Any

import numpy as np

from mtl_jax.weights.restricted_pickle import Global, Rejected, Skipped, Vocabulary, require_type

MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class Dtype:
    """A dtype as described in the pickle: kind and size such as 'f4', and byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = _to_text(name), "="

    def to_numpy(self) -> np.dtype:
        """Return the NumPy dtype; raise Rejected unless it is a number or bool."""
        if self.name not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            raise Rejected(f"an array of dtype {self.name!a:.40}")
        return np.dtype(self.name).newbyteorder(self.order)


class Array:
    """An array in the pickle; its values are None until its state is set."""

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray | None = None


def make_vocabulary(skipped_modules: tuple[str, ...]) -> Vocabulary:
    """Return the vocabulary for NumPy arrays and scalars; skip classes in `skipped_modules`."""
    builders = {
        "collections.OrderedDict": lambda pairs=(): dict(pairs),
        "numpy.dtype": Dtype,
        "numpy.ndarray": Array,
        "_codecs.encode": lambda text, _: require_type(text, str).encode("latin-1"),
    }
    for module in MODULES:
        builders[f"{module}._reconstruct"] = Array
        builders[f"{module}.scalar"] = _scalar
    for name in ("copy_reg._reconstructor", "copyreg._reconstructor"):
        builders[name] = lambda cls, *_: Skipped(require_type(cls, Global).name)
    return Vocabulary(
        builders,
        allows=lambda name: name in ("__builtin__.object", "builtins.object"),
        skips=lambda name: name.split(".")[0] in skipped_modules,
        set_state=_set_state,
    )


def to_plain(value: Any, converted: dict[int, Any] | None = None) -> Any:
    """Return `value` with each Array in dicts, lists and tuples replaced by a NumPy array.

    An object that is referenced several times is converted once, to `converted[id(object)]`.
    """
    converted = {} if converted is None else converted
    if isinstance(value, Array):
        return value.values
    if id(value) in converted:
        return converted[id(value)]
    if isinstance(value, dict):
        plain_dict = converted[id(value)] = {}
        for key, item in value.items():
            key = _to_text(key) if isinstance(key, bytes) else key
            plain_dict[key] = to_plain(item, converted)
        return plain_dict
    if isinstance(value, list | tuple):
        plain_list = converted[id(value)] = []
        plain_list.extend(to_plain(item, converted) for item in value)
        return plain_list
    return value


def _to_text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else require_type(value, str)


def _to_bytes(value: Any) -> bytes:
    """Return bytes, which Python 2 pickles as text."""
    return value.encode("latin-1") if isinstance(value, str) else require_type(value, bytes)


def _scalar(dtype: Any, data: Any) -> int | float:
    data, numpy_dtype = _to_bytes(data), require_type(dtype, Dtype).to_numpy()
    if len(data) != numpy_dtype.itemsize:
        raise ValueError("damaged pickle")
    return np.frombuffer(data, numpy_dtype)[0].item()


def _set_state(value: Any, state: Any) -> None:
    if isinstance(value, Dtype):
        value.order = _to_text(require_type(state, tuple)[1])
        if value.order not in "<>|=":
            raise ValueError("damaged pickle")
    elif isinstance(value, Array):
        *_, shape, dtype, is_fortran, data = require_type(state, tuple)
        for size in require_type(shape, tuple):
            require_type(size, int)
        if min(shape, default=0) < 0:
            raise ValueError("an array has a negative size")
        if require_type(dtype, Dtype).name in ("O", "O8"):
            return  # arrays of objects are not needed
        data, numpy_dtype = _to_bytes(data), dtype.to_numpy()
        if prod(shape) * numpy_dtype.itemsize != len(data):
            raise ValueError(f"an array states {prod(shape)} values in {len(data)} bytes")
        array = np.frombuffer(data, numpy_dtype).reshape(shape, order="F" if is_fortran else "C")
        value.values = array.astype(numpy_dtype.newbyteorder("="))
