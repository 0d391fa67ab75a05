"""What the names in pickles of NumPy arrays stand for, of Python 2 and 3. Nothing in them is
run."""

from math import prod
from typing import Any

import numpy as np

from mtl_jax.weights.restricted_pickle import Global, Opaque, Rejected, Vocabulary, typed

MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class Dtype:
    """The claim of a dtype: kind and size such as 'f4', then its byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name, self.order = as_text(name), "="

    def numpy(self) -> np.dtype:
        if self.name not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            raise Rejected(f"an array of dtype {self.name!a:.40}")
        return np.dtype(self.name).newbyteorder(self.order)


class Array:
    """The claim of an array: empty until its state comes."""

    def __init__(self, *_: Any) -> None:
        self.values: np.ndarray | None = None


def vocabulary(opaque_modules: tuple[str, ...]) -> Vocabulary:
    """Arrays and scalars of NumPy; objects of classes in `opaque_modules` are passed over."""
    builders = {
        "collections.OrderedDict": lambda pairs=(): dict(pairs),
        "numpy.dtype": Dtype,
        "numpy.ndarray": Array,
        "_codecs.encode": lambda text, _: typed(text, str).encode("latin-1"),
    }
    for module in MODULES:
        builders[f"{module}._reconstruct"] = Array
        builders[f"{module}.scalar"] = _scalar
    reconstructors = ("copy_reg._reconstructor", "copyreg._reconstructor")

    def opaque(name: str) -> bool:
        return name.split(".")[0] in opaque_modules

    builders |= dict.fromkeys(reconstructors, lambda made, *_: Opaque(typed(made, Global).name))
    return Vocabulary(
        builders,
        named=lambda name: name in ("__builtin__.object", "builtins.object"),
        opaque=opaque,
        state=_state,
    )


def plain(value: Any) -> Any:
    """Return `value` with each Array in dicts, lists and tuples made a NumPy array. What is held
    several times is made once."""
    return _plain(value, {})


def _plain(value: Any, made: dict[int, Any]) -> Any:
    if isinstance(value, Array):
        return value.values
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, dict):
        found: Any = {}
        made[id(value)] = found
        for key, item in value.items():
            found[as_text(key) if isinstance(key, bytes) else key] = _plain(item, made)
        return found
    if isinstance(value, list | tuple):
        found = []
        made[id(value)] = found
        found.extend(_plain(item, made) for item in value)
        return found
    return value


def as_text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else typed(value, str)


def _scalar(dtype: Any, data: Any) -> int | float:
    if isinstance(data, str):  # text of Python 2 is bytes
        data = data.encode("latin-1")
    kind = typed(dtype, Dtype).numpy()
    if len(typed(data, bytes)) != kind.itemsize:
        raise ValueError("damaged pickle")
    return np.frombuffer(data, kind)[0].item()


def _state(value: Any, state: Any) -> None:
    if isinstance(value, Dtype):
        value.order = as_text(typed(state, tuple)[1])
        if value.order not in "<>|=":
            raise ValueError("damaged pickle")
    elif isinstance(value, Array):
        *_, shape, dtype, by_columns, data = typed(state, tuple)
        for count in typed(shape, tuple):
            typed(count, int)
        if min(shape, default=0) < 0:
            raise ValueError("an array with a negative size")
        if typed(dtype, Dtype).name in ("O", "O8"):
            return  # of objects, which no layer is made of
        if isinstance(data, str):  # text of Python 2 is bytes
            data = data.encode("latin-1")
        kind = dtype.numpy()
        if prod(shape) * kind.itemsize != len(typed(data, bytes)):
            raise ValueError(f"an array claims {prod(shape)} numbers in {len(data)} bytes")
        order = "F" if by_columns else "C"
        array = np.frombuffer(data, kind).reshape(shape, order=order)
        value.values = array.astype(kind.newbyteorder("="))
