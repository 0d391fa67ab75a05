"""Interprets the pickle opcodes that files of weights hold, and nothing else: no code is ever run.

Nothing is imported or called: a global is only a name, and what a file may do with a name is in the
vocabulary of its format.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from mmap import mmap
from typing import Any, NamedTuple


class Rejected(Exception):
    """The pickle asks for something that a file of weights does not need."""


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for, such as torch.FloatStorage; never looked up."""

    name: str


@dataclass(frozen=True)
class Opaque:
    """An object of a class that is not needed: neither made nor looked into."""

    name: str


class Vocabulary(NamedTuple):
    """What names stand for. `builders`: what a call of a name gives, from plain values; `named`:
    whether a name may occur that is not called; `opaque`: whether objects of that class may be
    passed over; `persistent`: what a persistent id stands for; `state`: what BUILD does to an
    object, given its state."""

    builders: Mapping[str, Callable[..., Any]]
    named: Callable[[str], bool] = lambda name: False
    opaque: Callable[[str], bool] = lambda name: False
    persistent: Callable[[Any], Any] | None = None
    state: Callable[[Any, Any], None] = lambda value, state: None


MARK = object()
WHAT_IT_NEEDS = "which files of weights never need"


def read_pickle(stream: BytesIO | mmap, vocabulary: Vocabulary) -> Any:
    """Return the object at the stream's position, made of dicts, lists, tuples, numbers, text,
    bytes and what the vocabulary builds.

    Leaves the stream behind the STOP opcode. Raises Rejected, or ValueError where the pickle is
    damaged.
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
    raise ValueError("pickle without an end")


def _step(
    name: str, argument: Any, stack: list[Any], memo: dict[int, Any], known: Vocabulary
) -> None:
    match name:
        case "PROTO" | "FRAME":
            pass
        case "MARK":
            stack.append(MARK)
        case "POP":
            stack.pop()
        case "NONE" | "NEWTRUE" | "NEWFALSE":
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
            stack.append(argument)
        case "BINUNICODE" | "SHORT_BINUNICODE" | "SHORT_BINSTRING" | "BINSTRING":
            stack.append(argument)
        case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
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
            typed(stack[-1], list).append(value)
        case "APPENDS":
            values = _pop_to_mark(stack)
            typed(stack[-1], list).extend(values)
        case "SETITEM":
            value, key = stack.pop(), stack.pop()
            typed(stack[-1], dict)[key] = value
        case "SETITEMS":
            flat = _pop_to_mark(stack)
            typed(stack[-1], dict).update(zip(flat[::2], flat[1::2], strict=True))
        case "BINPERSID" if known.persistent:
            stack.append(known.persistent(stack.pop()))
        case "GLOBAL":
            stack.append(_known(argument.replace(" ", "."), known))
        case "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_known(f"{module}.{attribute}", known))
        case "REDUCE" | "NEWOBJ":
            arguments, called = stack.pop(), stack.pop()
            stack.append(_called(called, typed(arguments, tuple), known))
        case "OBJ":
            called, *arguments = _pop_to_mark(stack)
            stack.append(_called(called, tuple(arguments), known))
        case "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], Opaque):
                known.state(stack[-1], state)
        case _:
            raise Rejected(f"opcode {name}, {WHAT_IT_NEEDS}")


def _known(name: str, known: Vocabulary) -> Global:
    if name not in known.builders and not known.named(name) and not known.opaque(name):
        raise Rejected(f"{name if name.isprintable() else ascii(name)}"[:120])
    return Global(name)


def _called(called: Any, arguments: tuple[Any, ...], known: Vocabulary) -> Any:
    name = typed(called, Global).name
    if name in known.builders:
        return known.builders[name](*arguments)
    if known.opaque(name):
        return Opaque(name)
    raise Rejected(f"a call of {name}")


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    return items[::-1]


def typed(value: Any, kind: type) -> Any:
    """Return `value`, where it is of `kind`; a bool is no number."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError("damaged pickle")
    return value
