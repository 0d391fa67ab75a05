"""Write valid and malicious PyTorch `.pth` files opcode by opcode, without PyTorch.

The format follows torch/serialization.py.
"""

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
LITTLE_ENDIAN = {"protocol_version": PROTOCOL, "little_endian": True}
PROTO, STOP, MARK = b"\x80\x02", b".", b"("


@dataclass(frozen=True)
class TensorEntry:
    """The description of a tensor in a pickle."""

    key: str
    count: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    kind: str = "FloatStorage"


def describe(key: str, array: np.ndarray) -> TensorEntry:
    """Return the entry of a contiguous array."""
    strides = tuple(step // array.itemsize for step in array.strides)
    return TensorEntry(key, array.size, array.shape, strides)


def opcodes(value: object) -> bytes:
    """Return `value` as protocol 2 opcodes; a TensorEntry becomes a tensor, bytes are inserted."""
    match value:
        case bytes():
            return value
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            size = max(1, (value.bit_length() + 8) // 8)
            return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return MARK + b"".join(map(opcodes, value)) + b"t"
        case list():
            return b"]" + MARK + b"".join(map(opcodes, value)) + b"e"
        case dict():
            items = b"".join(opcodes(k) + opcodes(v) for k, v in value.items())
            return b"}" + MARK + items + b"u"
        case TensorEntry():
            pid = ("storage", global_name("torch", value.kind), value.key, "cpu", value.count)
            hooks = global_name("collections", "OrderedDict") + b")R"
            arguments = (opcodes(pid) + b"Q", value.offset, value.shape, value.strides, False)
            return call("torch._utils", "_rebuild_tensor_v2", (*arguments, hooks))
    raise TypeError(value)


def global_name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, arguments: tuple) -> bytes:
    return global_name(module, name) + opcodes(arguments) + b"R"


def pickled(value: object) -> bytes:
    return PROTO + opcodes(value) + STOP


def zip_file(
    state: object, blocks: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Return a `.pth` file of PyTorch 1.6 or later with `state` and the storages `blocks`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled(state))
        archive.writestr("net/byteorder", "little")
        for key, block in blocks.items():
            archive.writestr(f"net/data/{key}", block)
    return out.getvalue()


def legacy_file(state: object, blocks: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Return a `.pth` file from before PyTorch 1.6; `blocks` are (count, bytes) by key."""
    heads = (MAGIC, PROTOCOL, LITTLE_ENDIAN, state, list(blocks))
    tail = (struct.pack("<q", count) + block for count, block in blocks.values())
    return b"".join(map(pickled, heads)) + b"".join(tail)


def valid_files(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Return the files of `arrays` by the name of the form, zip or legacy."""
    state = {name: describe(str(i), array) for i, (name, array) in enumerate(arrays.items())}
    blocks = {str(i): array.tobytes() for i, array in enumerate(arrays.values())}
    counts = {str(i): (array.size, array.tobytes()) for i, array in enumerate(arrays.values())}
    return {"zip": zip_file(state, blocks), "legacy": legacy_file(state, counts)}
