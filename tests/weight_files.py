"""Files of AlexNet's convolutions in the formats of other software, for the conversion tests."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.old_names import KEYS

SHAPES = {  # (row, column, in, out)
    "C1": (11, 11, 3, 64),
    "C2": (5, 5, 64, 192),
    "C3": (3, 3, 192, 384),
    "C4": (3, 3, 384, 256),
    "C5": (3, 3, 256, 256),
}
STRIDE_PAD_POOL = {"C1": (4, 2, True), "C2": (1, 2, True), "C3": (1, 1, False)}
STRIDE_PAD_POOL |= {"C4": (1, 1, False), "C5": (1, 1, True)}
# layers-imagenet-1gpu.cfg of cuda-convnet2: name, type, input, neuron, other options. The software
# stores padding as a negative number, and scale 1e-4 divided by size.
NORM = {"size": 5, "scale": 2e-5, "pow": 0.75, "minDiv": 2.0, "blocked": False}
POOL = {"pool": "max", "sizeX": 3, "stride": 2, "start": 0}
ONE_GPU = (
    ("conv1", "conv", "data", "", {"stride": [4], "padding": [0]}),
    ("rnorm1", "cmrnorm", "conv1", "", NORM),
    ("pool1", "pool", "rnorm1", "relu", POOL),
    ("conv2", "conv", "pool1_neuron", "relu", {"stride": [1], "padding": [-2]}),
    ("rnorm2", "cmrnorm", "conv2_neuron", "", NORM),
    ("pool2", "pool", "rnorm2", "", POOL),
    ("conv3", "conv", "pool2", "relu", {"stride": [1], "padding": [-1]}),
    ("conv4", "conv", "conv3_neuron", "relu", {"stride": [1], "padding": [-1]}),
    ("conv5", "conv", "conv4_neuron", "", {"stride": [1], "padding": [-1]}),
    ("pool3", "pool", "conv5", "relu", POOL),
    ("fc4096a", "fc", "pool3_neuron", "relu", {}),
    ("fc1000", "fc", "fc4096a_neuron", "", {}),
)
Layers = dict[str, dict[str, np.ndarray]]


def rename_as_in_0_1_0(folder: Path) -> None:
    """Give a folder of weights the card.json that version 0.1.0 wrote, with its checksum."""
    path, sums = folder / "card.json", folder / "SHA256SUMS"
    old_digest = hashlib.sha256(path.read_bytes()).hexdigest()
    metadata = json.loads(path.read_text())
    old_keys = {new: old for old, new in KEYS.items()}
    renamed = {old_keys.get(key, key): value for key, value in metadata.items()}
    assert renamed.keys() != metadata.keys()
    path.write_text(json.dumps(renamed, indent=2) + "\n")
    new_digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert old_digest in sums.read_text()
    sums.write_text(sums.read_text().replace(old_digest, new_digest))


def layers() -> Layers:
    """Return random convolutions whose activations are of order 1."""
    rng = np.random.default_rng(5)
    return {
        name: {
            "kernel": rng.standard_normal(shape, np.float32)
            * np.float32(np.sqrt(2 / np.prod(shape[:3]))),
            "bias": 0.1 * rng.standard_normal(shape[-1], np.float32),
        }
        for name, shape in SHAPES.items()
    }


def convnet_layers(convolutions: Layers) -> dict[str, dict[str, Any]]:
    """Return the layers of the one-GPU network as stored: a neuron is a separate layer."""
    stored: dict[str, dict[str, Any]] = {"data": {"type": "data", "name": "data"}}
    for name, kind, source, neuron, options in ONE_GPU:
        layer = {"type": kind, "name": name, "inputs": [source], "neuron": neuron, **options}
        stored[name] = layer
        if kind == "conv":
            layer |= _convolution(convolutions[f"C{name[-1]}"])
        if neuron:
            stored[f"{name}_neuron"] = {
                "type": "neuron",
                "name": f"{name}_neuron",
                "inputs": [name],
                "neuron": {"type": neuron, "params": {}},
            }
    return stored


def _convolution(layer: dict[str, np.ndarray]) -> dict[str, Any]:
    rows, _, channels, filters = layer["kernel"].shape
    return {
        "groups": [1],
        "channels": [channels],
        "filterSize": [rows],
        "sharedBiases": True,
        "weights": [layer["kernel"].transpose(2, 0, 1, 3).reshape(-1, filters)],
        "biases": layer["bias"].reshape(-1, 1),
    }


def convnet(convolutions: Layers, extra: bytes = b"") -> bytes:
    """Return a checkpoint of cuda-convnet2 with layers and options, as Python 2 pickles it."""
    return convnet_file(convnet_layers(convolutions), extra)


def convnet_file(stored: dict[str, dict[str, Any]] | list[Any], extra: bytes = b"") -> bytes:
    """Return a checkpoint with the given layers."""
    state = python2({"model_state": {"epoch": 90, "layers": stored, "train_outputs": []}})
    options = b"(coptions\nOptionsParser\no}" + text("x") + b"Nsb"  # an old-style class
    return b"\x80\x02" + state + text("op") + (extra or options) + b"s."


def python2(value: Any) -> bytes:
    """Return the protocol 2 opcodes of Python 2 for dicts, lists, text, numbers and arrays."""
    if isinstance(value, dict):
        items = b"".join(python2(k) + python2(v) + b"s" for k, v in value.items())
        return b"}" + items
    if isinstance(value, list):
        return b"]" + b"".join(python2(item) + b"a" for item in value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    return array(value.shape, value.tobytes())


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def array(shape: tuple[int, ...], data: bytes) -> bytes:
    """Return a float32 array as pickled by NumPy on Python 2."""
    reconstruct = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    )
    dtype = b"cnumpy\ndtype\n" + text("f4") + b"K\x00K\x01\x87R(K\x03" + text("<")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    sizes = b"(" + b"".join(b"\x8a\x06" + struct.pack("<q", n)[:6] for n in shape) + b"t"
    block = b"T" + struct.pack("<i", len(data)) + data
    return reconstruct + b"(K\x01" + sizes + dtype + b"\x89" + block + b"tb"
