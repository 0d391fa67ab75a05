"""Interprets the pickle opcodes that torch.save writes, and nothing else: no code is ever run.

Nothing is imported or called: a global is only a name, and the few known names stand for the plain
values below. It reads no tensor data: `torch_file` does.
"""

import pickletools
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from typing import Any


class Refused(Exception):
    """The pickle asks for something that a file of weights does not need."""


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for, such as torch.FloatStorage; never looked up."""

    name: str


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


MARK = object()


def read_pickle(stream: BytesIO | mmap) -> tuple[Any, dict[str, Storage]]:
    """The object at the stream's position and, by key, all storages that it mentions.

    The object is made of dicts, lists, tuples, numbers, text and Tensors. Leaves the stream behind
    the STOP opcode. Raises Refused, or ValueError where the pickle is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    storages: dict[str, Storage] = {}
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return stack.pop(), storages
            if opcode.name == "BINPERSID":
                storage = _storage(stack.pop())
                if storages.setdefault(storage.key, storage) != storage:
                    raise ValueError(f"two claims on storage {storage.key!a:.80}")
                stack.append(storage)
            else:
                _step(opcode.name, argument, stack, memo)
    except (IndexError, KeyError, TypeError, UnicodeError, OverflowError) as error:
        raise ValueError("damaged pickle") from error
    raise ValueError("pickle without an end")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    match name:
        case "PROTO" | "FRAME":
            pass
        case "MARK":
            stack.append(MARK)
        case "NONE" | "NEWTRUE" | "NEWFALSE":
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
            stack.append(argument)
        case "BINUNICODE" | "SHORT_BINUNICODE" | "SHORT_BINSTRING" | "BINSTRING":
            stack.append(argument)
        case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        case "BINPUT" | "LONG_BINPUT":
            memo[argument] = stack[-1]
        case "MEMOIZE":
            memo[len(memo)] = stack[-1]
        case "BINGET" | "LONG_BINGET":
            stack.append(memo[argument])
        case "TUPLE":
            stack.append(tuple(_pop_to_mark(stack)))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            items = [stack.pop() for _ in range(int(name[-1]))]
            stack.append(tuple(reversed(items)))
        case "APPEND":
            value = stack.pop()
            _typed(stack[-1], list).append(value)
        case "APPENDS":
            values = _pop_to_mark(stack)
            _typed(stack[-1], list).extend(values)
        case "SETITEM":
            value, key = stack.pop(), stack.pop()
            _typed(stack[-1], dict)[key] = value
        case "SETITEMS":
            flat = _pop_to_mark(stack)
            _typed(stack[-1], dict).update(zip(flat[::2], flat[1::2], strict=True))
        case "GLOBAL":
            stack.append(_known_global(argument.replace(" ", ".")))
        case "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_known_global(f"{module}.{attribute}"))
        case "REDUCE" | "NEWOBJ":
            arguments, called = stack.pop(), stack.pop()
            stack.append(_build(called, _typed(arguments, tuple)))
        case "BUILD":
            stack.pop()  # attributes, such as a state dict's version: no numbers in them
        case _:
            raise Refused(f"opcode {name}, which torch.save never writes for weights")


def _known_global(name: str) -> Global:
    module, _, attribute = name.rpartition(".")
    is_storage = module in ("torch", "torch.storage", "torch.cuda") and attribute.endswith(
        "Storage"
    )
    if name not in BUILDERS and not is_storage:
        raise Refused(f"{name if name.isprintable() else ascii(name)}"[:120])
    return Global(name)


def _storage(pid: Any) -> Storage:
    """A torch storage's persistent id: ('storage', type, key, device, count[, view])."""
    tag, kind, key, _, count, *view = _typed(pid, tuple)
    if tag != "storage" or any(part is not None for part in view):
        raise Refused("a storage that is a view of another one")
    name = _typed(kind, Global).name.rpartition(".")[2]
    return Storage(name, _typed(key, str), _typed(count, int))


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    for value in (offset, *_typed(shape, tuple), *_typed(strides, tuple)):
        _typed(value, int)
    return Tensor(_typed(storage, Storage), offset, shape, strides)


BUILDERS = {
    "collections.OrderedDict": lambda pairs=(): dict(pairs),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.nn.parameter.Parameter": lambda data, *_: data,
    "torch.Size": lambda sizes: tuple(sizes),
}


def _build(called: Any, arguments: tuple[Any, ...]) -> Any:
    name = _typed(called, Global).name
    if name not in BUILDERS:
        raise Refused(f"a call of {name}")
    return BUILDERS[name](*arguments)


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    return items[::-1]


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError("damaged pickle")
    return value
