"""Interpret the pickle opcodes that weight files need, without executing code.

Nothing is imported or called. A global is only a name, and the vocabulary of the file format
defines which names are allowed and what they stand for.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from typing import Any, NamedTuple


class Rejected(Exception):
    """The pickle requests something that a weight file does not need."""


@dataclass(frozen=True)
class Global:
    """A name in the pickle, such as torch.FloatStorage; it is not imported."""

    name: str


@dataclass(frozen=True)
class Skipped:
    """Placeholder of an object whose class is not needed."""

    name: str


class Vocabulary(NamedTuple):
    """The names that a file format allows, and what they stand for."""

    builders: Mapping[str, Callable[..., Any]]  # return the object for a call of a name
    allows: Callable[[str], bool] = lambda name: False  # names that are not called
    skips: Callable[[str], bool] = lambda name: False  # classes whose objects are skipped
    persistent: Callable[[Any], Any] | None = None  # returns the object for a persistent id
    set_state: Callable[[Any, Any], None] = lambda value, state: None  # for opcode BUILD


MARK = object()
LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES"}
LITERALS |= {"BINBYTES8", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING", "BINSTRING"}


def read_pickle(stream: BytesIO | mmap, vocabulary: Vocabulary) -> Any:
    """Return the object at the position of the stream, and move the stream after it.

    Raises Rejected for an opcode or a name that is not allowed, ValueError for a damaged pickle.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return stack.pop()
            _step(opcode.name, argument, stack, memo, vocabulary)
    except (IndexError, KeyError, TypeError, UnicodeError, OverflowError) as error:
        raise ValueError("damaged pickle") from error
    raise ValueError("the pickle has no end")


def _step(
    name: str, argument: Any, stack: list[Any], memo: dict[int, Any], vocabulary: Vocabulary
) -> None:
    """Apply one opcode to the stack and the memo."""
    match name:
        case "PROTO" | "FRAME":
            pass
        case "MARK":
            stack.append(MARK)
        case "POP":
            stack.pop()
        case "NONE" | "NEWTRUE" | "NEWFALSE":
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        case _ if name in LITERALS:
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
            require_type(stack[-1], list).append(value)
        case "APPENDS":
            values = _pop_to_mark(stack)
            require_type(stack[-1], list).extend(values)
        case "SETITEM":
            value, key = stack.pop(), stack.pop()
            require_type(stack[-1], dict)[key] = value
        case "SETITEMS":
            flat = _pop_to_mark(stack)
            require_type(stack[-1], dict).update(zip(flat[::2], flat[1::2], strict=True))
        case "BINPERSID" if vocabulary.persistent:
            stack.append(vocabulary.persistent(stack.pop()))
        case "GLOBAL":
            stack.append(_allowed_global(argument.replace(" ", "."), vocabulary))
        case "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_allowed_global(f"{module}.{attribute}", vocabulary))
        case "REDUCE" | "NEWOBJ":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_build(function, require_type(arguments, tuple), vocabulary))
        case "OBJ":
            function, *arguments = _pop_to_mark(stack)
            stack.append(_build(function, tuple(arguments), vocabulary))
        case "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], Skipped):
                vocabulary.set_state(stack[-1], state)
        case _:
            raise Rejected(f"opcode {name}, which weight files do not need")


def _allowed_global(name: str, vocabulary: Vocabulary) -> Global:
    if not (name in vocabulary.builders or vocabulary.allows(name) or vocabulary.skips(name)):
        raise Rejected(f"{name if name.isprintable() else ascii(name)}"[:120])
    return Global(name)


def _build(function: Any, arguments: tuple[Any, ...], vocabulary: Vocabulary) -> Any:
    name = require_type(function, Global).name
    if name in vocabulary.builders:
        return vocabulary.builders[name](*arguments)
    if vocabulary.skips(name):
        return Skipped(name)
    raise Rejected(f"a call of {name}")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    return items[::-1]


def require_type(value: Any, kind: type) -> Any:
    """Return `value`; raise ValueError if it is not of `kind` (bool does not count as int)."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError("damaged pickle")
    return value
