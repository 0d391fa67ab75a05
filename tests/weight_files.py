"""Files of AlexNet's convolutions as other software writes them, for the tests of conversion."""

import struct
from typing import Any

import numpy as np

SHAPES = {  # (row, column, in, out)
    "C1": (11, 11, 3, 64),
    "C2": (5, 5, 64, 192),
    "C3": (3, 3, 192, 384),
    "C4": (3, 3, 384, 256),
    "C5": (3, 3, 256, 256),
}
STRIDE_PAD_POOL = {"C1": (4, 2, True), "C2": (1, 2, True), "C3": (1, 1, False)}
STRIDE_PAD_POOL |= {"C4": (1, 1, False), "C5": (1, 1, True)}
# layers-imagenet-1gpu.cfg of cuda-convnet2: name, type, inputs, neuron, other options. Its
# software stores padding negative, and scale 1e-4 divided by size.
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


def layers() -> Layers:
    """Convolutions with activations of about unit size."""
    rng = np.random.default_rng(5)
    return {
        name: {
            "kernel": rng.standard_normal(shape, np.float32)
            * np.float32(np.sqrt(2 / np.prod(shape[:3]))),
            "bias": 0.1 * rng.standard_normal(shape[-1], np.float32),
        }
        for name, shape in SHAPES.items()
    }


def convnet_layers(of: Layers) -> dict[str, dict[str, Any]]:
    """What cuda-convnet2 holds of its one-GPU network: a neuron is a layer of its own."""
    listed: dict[str, dict[str, Any]] = {"data": {"type": "data", "name": "data"}}
    for name, kind, source, neuron, options in ONE_GPU:
        layer = {"type": kind, "name": name, "inputs": [source], "neuron": neuron, **options}
        listed[name] = layer
        if kind == "conv":
            layer |= _convolution(of[f"C{name[-1]}"])
        if neuron:
            own = {"type": neuron, "params": {}}
            after = {"type": "neuron", "name": f"{name}_neuron", "inputs": [name], "neuron": own}
            listed[f"{name}_neuron"] = after
    return listed


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


def convnet(of: Layers, extra: bytes = b"") -> bytes:
    """As Python 2 pickles a checkpoint of cuda-convnet2: layers, and options as objects."""
    return convnet_file(convnet_layers(of), extra)


def convnet_file(listed: dict[str, dict[str, Any]] | list[Any], extra: bytes = b"") -> bytes:
    state = python2({"model_state": {"epoch": 90, "layers": listed, "train_outputs": []}})
    options = b"(coptions\nOptionsParser\no}" + text("x") + b"Nsb"  # of an old-style class
    return b"\x80\x02" + state + text("op") + (extra or options) + b"s."


def python2(value: Any) -> bytes:
    """The opcodes of protocol 2 that Python 2 writes for dicts, lists, text, numbers, arrays."""
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
    """A float32 array as NumPy of that time pickles it."""
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    )
    dtype = b"cnumpy\ndtype\n" + text("f4") + b"K\x00K\x01\x87R(K\x03" + text("<")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    sizes = b"(" + b"".join(b"\x8a\x06" + struct.pack("<q", n)[:6] for n in shape) + b"t"
    block = b"T" + struct.pack("<i", len(data)) + data
    return made + b"(K\x01" + sizes + dtype + b"\x89" + block + b"tb"
