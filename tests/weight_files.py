"""Files of AlexNet's convolutions as other software writes them, for the tests of conversion."""

import io
import struct
from pathlib import Path
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


def onnx_model(of: Layers, groups: int = 1, check: bool = True) -> Any:
    """A graph with names that say nothing; `groups` in the second convolution."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, tensors, flow = [], [], "image"
    for number, (name, layer) in enumerate(of.items()):
        stride, pad, pool = STRIDE_PAD_POOL[name]
        kernel = layer["kernel"].transpose(3, 2, 0, 1)
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(kernel), f"t{2 * number}"))
        tensors.append(numpy_helper.from_array(layer["bias"], f"t{2 * number + 1}"))
        extra = {"group": groups} if number == 1 else {}
        conv = helper.make_node(
            "Conv",
            [flow, f"t{2 * number}", f"t{2 * number + 1}"],
            [f"c{number}"],
            strides=[stride] * 2,
            pads=[pad] * 4,
            **extra,
        )
        nodes += [conv, helper.make_node("Relu", [f"c{number}"], [f"r{number}"])]
        flow = f"r{number}"
        if pool:
            shape = {"kernel_shape": [3, 3], "strides": [2, 2]}
            nodes.append(helper.make_node("MaxPool", [flow], [f"p{number}"], **shape))
            flow = f"p{number}"
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])
    out = helper.make_tensor_value_info(flow, TensorProto.FLOAT, [1, 256, 1, 1])
    graph = helper.make_graph(nodes, "alexnet", [image], [out], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if check:
        checker.check_model(model)
    return model


def caffe(of: Layers) -> bytes:
    """As np.save writes a dictionary of layers: [kernel, bias] each."""
    named = {f"conv{n[1]}": [layer["kernel"], layer["bias"]] for n, layer in of.items()}
    out = io.BytesIO()
    np.save(out, np.array(named, dtype=object), allow_pickle=True)
    return out.getvalue()


def convnet(of: Layers, rnorm: int = 2, groups: int = 1, extra: bytes = b"") -> bytes:
    """As Python 2 pickles a checkpoint of cuda-convnet2: layers, and options as objects."""
    listed: dict[str, Any] = {"data": {"type": "data", "name": "data"}}
    for name, layer in of.items():
        rows, _, channels, filters = layer["kernel"].shape
        own = f"conv{name[1]}"
        listed[own] = {
            "type": "conv",
            "name": own,
            "groups": [groups],
            "channels": [channels],
            "filterSize": [rows],
            "weights": [layer["kernel"].transpose(2, 0, 1, 3).reshape(-1, filters)],
            "biases": layer["bias"].reshape(-1, 1),
        }
    for i in range(rnorm):
        listed[f"rnorm{i + 1}"] = {"type": "cmrnorm", "name": f"rnorm{i + 1}"}
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
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
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


def keras_h5(of: Layers, path: Path) -> None:
    """The layout of Keras before 3: names of layers in an attribute, in the model's order."""
    import h5py

    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        # Sorted by name conv2d would come before conv2d_1, and conv2d_10 before conv2d_9.
        names = [f"conv2d_{7 + i}" for i in range(len(of))]
        root.attrs["layer_names"] = [b"input_1", *(n.encode() for n in names)]
        root.create_group("input_1")
        for name, layer in zip(names, of.values(), strict=True):
            for leaf, values in layer.items():
                root.create_dataset(f"{name}/{name}/{leaf}:0", data=values)
