"""Reads the layers of an ONNX graph into NumPy arrays. It needs the extra `formats` (onnx).

It knows no shapes of AlexNet: `table` does.
"""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.nouns import InputError

MOST_BYTES = 1 << 30
# Names of the layers in the order of the graph; the axes are PyTorch's too.
NAMES = {
    "Conv": ("features.0", "features.3", "features.6", "features.8", "features.10"),
    "Gemm": ("classifier.1", "classifier.4", "classifier.6"),
}


def read_onnx(path: Path) -> dict[str, np.ndarray]:
    """Arrays 'features.0.weight' ... as in torchvision's AlexNet, by the order of the graph,
    whatever its initializers are called."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise InputError(f"{path}: an ONNX file needs: pip install 'mtl_jax[formats]'") from error
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: is larger than {MOST_BYTES} bytes; refused")
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
        named = {tensor.name: tensor for tensor in model.graph.initializer}
        arrays: dict[str, np.ndarray] = {}
        for kind, names in NAMES.items():
            nodes = [node for node in model.graph.node if node.op_type == kind]
            for number, node in enumerate(nodes):
                name = names[number] if number < len(names) else f"{kind} {number + 1}"
                arrays |= _layer(node, named, name, path)
    except (DecodeError, ValueError, TypeError, LookupError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else "not readable"
        raise InputError(f"{path}: damaged ONNX file ({reason}); get it again") from error
    return arrays


def _layer(node: Any, named: dict[str, Any], name: str, path: Path) -> dict[str, np.ndarray]:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    leaves = dict(zip(("weight", "bias"), node.input[1:], strict=False))
    for leaf, tensor in leaves.items():
        if tensor not in named:
            raise InputError(f"{path}: the {leaf} {tensor!a:.60} of {name} is no stored number")
    if attributes.get("group", 1) != 1:
        raise InputError(
            f"{path}: {name} has {attributes['group']} groups of kernels, each of which sees a "
            "part of the maps (the model zoo's bvlcalexnet); the network here has one group: give "
            "a one-tower AlexNet, such as torchvision's"
        )
    arrays = {f"{name}.{leaf}": _array(named[tensor], path) for leaf, tensor in leaves.items()}
    if node.op_type == "Gemm" and not attributes.get("transB", 0):
        arrays[f"{name}.weight"] = arrays[f"{name}.weight"].T
    return arrays


def _array(tensor: Any, path: Path) -> np.ndarray:
    from onnx import numpy_helper

    if tensor.data_location or tensor.external_data:
        raise InputError(
            f"{path}: {tensor.name!a:.60} lies in another file; save the model in one file"
        )
    held = max(len(tensor.raw_data), 4 * len(tensor.float_data), 8 * len(tensor.double_data))
    if min(tensor.dims, default=0) < 0 or prod(tensor.dims) > max(held, 0):
        raise InputError(
            f"{path}: {tensor.name!a:.60} claims {prod(tensor.dims)} numbers in {held} bytes; "
            "refused"
        )
    return np.asarray(numpy_helper.to_array(tensor))
