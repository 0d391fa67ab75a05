"""Export the network of a bundle as an ONNX graph.

The graph is written with the `onnx` package, since the general converter jax2onnx needs an older
Orbax. Tests compare it with the original network. Input and output are those of
`mtl_jax.bundle.stablehlo`.
"""

from collections.abc import Iterator
from math import isqrt

import numpy as np
from flax.traverse_util import flatten_dict

from mtl_jax.bundle.model import Model
from mtl_jax.models.base import FULLY_CONNECTED, ConvSpec
from mtl_jax.types import InputError

OPSET, IR_VERSION = 17, 8  # supported by runtimes since 2022
NOT_A_CHAIN = (
    "--format onnx supports chains of convolutions only, which this backbone is not; use --format "
    "stablehlo"
)
MISSING_EXTRA = "--format onnx needs the extra [onnx]: pip install 'mtl_jax[onnx]'"


def to_onnx(model: Model, task: str | None = None) -> bytes:
    """Serialize the graph with its weights: ROIs (n, 128, 128) float32 to scores (n,) float32.

    `task` is the training collection that the images resemble; the tested collection by default.
    """
    if not model.network.convolution_chain():
        raise InputError(NOT_A_CHAIN)
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise InputError(MISSING_EXTRA) from error
    nodes, constants = [], {}
    for operator, inputs, output, attributes in _steps(model, model.task(task), constants):
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
    shapes = {"rois": ["n", 128, 128], "scores": ["n"]}
    value_infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes, "mtl_jax", [value_infos["rois"]], [value_infos["scores"]], initializers
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mtl_jax",
        doc_string=model.about["use"],
    )
    checker.check_model(proto)
    return proto.SerializeToString()


Step = tuple[str, list[str], str, dict]


def _steps(model: Model, task: str, constants: dict[str, np.ndarray]) -> Iterator[Step]:
    """Yield (operator, inputs, output, attributes) in order, and add to `constants` by name."""

    def constant(name: str, value: object, kind: type = np.float32) -> str:
        constants[name] = np.asarray(value, kind)
        return name

    about = model.about["run"]
    mean = constant("input_mean", about["input_mean"][task])
    std = constant("input_std", about["input_std"][task])
    yield "Sub", ["rois", mean], "centred", {}
    yield "Div", ["centred", std], "gray", {}
    yield from _orientations(constant)
    channel = constant("one", [1], np.int64)
    yield "Unsqueeze", ["oriented", channel], "channel", {}
    yield "Concat", ["channel"] * 3, "image", {"axis": 1}
    params, last = flatten_dict(model.params, sep="/"), "image"
    links = model.network.convolution_chain()
    for link in links:
        kernel = params[f"{link.path}/kernel"].transpose(3, 2, 0, 1)
        weight = constant(f"{link.path}/kernel", np.ascontiguousarray(kernel))
        bias = constant(f"{link.path}/bias", params[f"{link.path}/bias"])
        before, after = link.pad
        pads = [before, before, after, after]  # top, left, bottom, right
        attributes = {"strides": [link.stride] * 2, "pads": pads}
        yield "Conv", [last, weight, bias], f"{link.path}/sum", attributes
        last = f"{link.path}/sum"
        for operator, attributes in _activation(link):
            yield operator, [last], f"{link.path}/{operator}", attributes
            last = f"{link.path}/{operator}"
        if link.pool:
            window = {"kernel_shape": [link.pool] * 2, "strides": [2, 2]}
            yield "MaxPool", [last], f"{link.path}/pooled", window
            last = f"{link.path}/pooled"
    yield "Flatten", [last], "flat", {"axis": 1}
    last, maps = "flat", params[f"{links[-1].path}/bias"].size
    for name in (*FULLY_CONNECTED, "F5"):
        kernel = np.asarray(params[f"{name}/kernel"])
        if name == "F1":
            # Flax flattens the map as (row, column, channel), ONNX as (channel, row, column).
            side = isqrt(len(kernel) // maps)
            parts = kernel.reshape(side, side, maps, -1).transpose(2, 0, 1, 3)
            kernel = parts.reshape(kernel.shape)
        weight = constant(f"{name}/kernel", np.ascontiguousarray(kernel))
        bias = constant(f"{name}/bias", params[f"{name}/bias"])
        yield "Gemm", [last, weight, bias], f"{name}/sum", {}
        last = f"{name}/sum"
        if name != "F5":
            yield "Relu", [last], name, {}
            last = name
    heads = model.network.outputs // 2
    head = 2 * (model.tasks.index(task) if heads > 1 else 0)
    logits = constant("head", [head, head + 1], np.int64)
    yield "Gather", [last, logits], "logits", {"axis": 1}
    yield "Softmax", ["logits"], "probabilities", {"axis": 1}
    yield "Gather", ["probabilities", constant("second", 1, np.int64)], "malignant", {"axis": 1}
    yield "Reshape", ["malignant", constant("by_eight", [8, -1], np.int64)], "eight", {}
    yield "ReduceMean", ["eight"], "scores", {"axes": [0], "keepdims": 0}


def _activation(link: ConvSpec) -> list[tuple[str, dict]]:
    """Return rectifier and normalization of a convolution in order, with their attributes."""
    if not link.lrn:
        return [("Relu", {})]
    size, scale, power, offset, first, _ = link.lrn
    # ONNX divides alpha by the number of maps.
    lrn = ("LRN", {"size": size, "alpha": scale * size, "beta": power, "bias": offset})
    return [lrn, ("Relu", {})] if first else [("Relu", {}), lrn]


def _orientations(constant: object) -> Iterator[Step]:
    """Yield the steps from "gray" to "oriented", the eight orientations along the first axis."""
    back, end = (constant(n, [v], np.int64) for n, v in (("back", -1), ("end", -(2**62))))
    last = "gray"
    for bit, axis in ((1, 1), (2, 2)):
        along = constant(f"axis{axis}", [axis], np.int64)
        yield "Slice", [last, back, end, along, back], f"flipped{bit}", {}
        yield "Concat", [last, f"flipped{bit}"], f"both{bit}", {"axis": 0}
        last = f"both{bit}"
    yield "Transpose", [last], "transposed", {"perm": [0, 2, 1]}
    yield "Concat", [last, "transposed"], "oriented", {"axis": 0}
