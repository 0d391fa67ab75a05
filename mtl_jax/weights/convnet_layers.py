"""Check that the layers of a cuda-convnet2 checkpoint are those of AlexNet in this package.

cuda-convnet2 (layer.py) stores the options of a layer's definition with the layer: `stride`,
negative `padding`, `neuron`, and the names of its `inputs`. A neuron is also a separate layer.
For response normalization it stores `scale` divided by `size`, and computes
x * (minDiv + scale * sum) ** -pow.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.models.alexnet import CONVOLUTIONS, AlexNet
from mtl_jax.models.base import param_shapes
from mtl_jax.models.response_norm import NORMALIZED, PAPER, Normalization, find_problem, to_json
from mtl_jax.weights.state_dict import printable

Layer = Mapping[str, Any]
LAYERS = {f"conv{name[1]}": name for name in CONVOLUTIONS}  # name in cuda-convnet2 -> name here
NAMES = tuple(LAYERS)
ONE_GPU = "layers-imagenet-1gpu.cfg"
ONE_GPU_KINDS = ("data", "conv", "pool", "cmrnorm", "neuron", "fc", "softmax")


class UnsupportedNetwork(Exception):
    """The checkpoint has a network that this package does not compute."""


def check_layers(layers: Sequence[Layer]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings of response normalization as in the metadata, and notes.

    Raises UnsupportedNetwork with the layer and the option if the network is another one.
    """
    for layer in layers:
        if layer["type"] == "conv":
            _check_convolution(layer)
    is_connected = any("inputs" in layer for layer in layers)
    groups = _group_connected(layers) if is_connected else _group_unconnected(layers)
    settings = []
    for name in NORMALIZED:
        convolution, *followers = groups[f"conv{name[1]}"]
        settings.append(_read_normalization(name, convolution, followers))
    dense = [printable(layer["name"]) for layer in layers if layer["type"] == "fc"]
    notes = [f"fully connected layers left out: {', '.join(dense)}"] if dense else []
    if not is_connected:
        notes.append(f"the file does not connect the layers: assumed to be those of {ONE_GPU}")
    return to_json(tuple(settings)), tuple(notes)


def _check_convolution(layer: Layer) -> None:
    name = printable(layer["name"])
    groups = _number(layer, "groups", 1)
    if groups != 1:
        raise UnsupportedNetwork(
            f"{name} has {groups:g} groups of kernels, each for a part of the channels; expected "
            "one group"
        )
    if layer["name"] not in LAYERS:
        return  # the set of names is checked later
    name_here = LAYERS[layer["name"]]
    geometry = CONVOLUTIONS[name_here]
    expected = {
        "stride": geometry.stride,
        "filterSize": geometry.size,
        "channels": param_shapes(AlexNet())[f"{name_here}/kernel"][2],
    }
    if layer["name"] != NAMES[0]:
        expected["padding"] = geometry.pad
    for option, expected_value in expected.items():
        value = abs(_number(layer, option, expected_value))
        if value != expected_value:
            raise UnsupportedNetwork(f"{name} has {option} {value:g}, expected {expected_value}")
    if _number(layer, "dilation", 1) != 1:
        raise UnsupportedNetwork(f"{name} has dilated kernels, expected none")
    sparse = layer.get("randSparse", False)
    if any(sparse) if isinstance(sparse, list) else sparse:
        raise UnsupportedNetwork(f"{name} uses random channels (randSparse), expected all channels")
    if not layer.get("sharedBiases", True):
        raise UnsupportedNetwork(f"{name} has a bias for every pixel, expected one for every map")


def _group_connected(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """Return each convolution with the layers after it, up to the next one or an fc layer."""
    named = {layer["name"]: layer for layer in layers}
    followers: dict[str, list[Layer]] = {}
    for layer in layers:
        for source in layer.get("inputs", ()):
            # Older checkpoints number the layers.
            key = layers[source]["name"] if isinstance(source, int) else source
            if key not in named:
                raise UnsupportedNetwork(
                    f"{printable(layer['name'])} has an input that is not in the file"
                )
            followers.setdefault(key, []).append(layer)
    if NAMES[0] not in named:
        raise UnsupportedNetwork(_list_convolutions(layers))
    layer, current = named[NAMES[0]], ""
    source_types = [
        source["type"]
        for source in layers
        if any(follower is layer for follower in followers.get(source["name"], ()))
    ]
    if source_types != ["data"]:
        raise UnsupportedNetwork(f"the input of {NAMES[0]} is not the images")
    groups: dict[str, list[Layer]] = {}
    for _ in layers:  # a file can connect the layers in a cycle
        if layer["type"] == "fc":
            break
        if layer["type"] == "conv":
            current = layer["name"]
            if current not in NAMES[len(groups) : len(groups) + 1]:
                raise UnsupportedNetwork(f"{printable(current)} is an unexpected convolution")
            groups[current] = []
        groups[current].append(layer)
        next_layers = followers.get(layer["name"], [])
        if len(next_layers) > 1:
            raise UnsupportedNetwork(
                f"the output of {printable(layer['name'])} is the input of several layers"
            )
        if not next_layers:
            break
        layer = next_layers[0]
    if tuple(groups) != NAMES or any(
        layer["type"] == "conv" and layer["name"] not in groups for layer in layers
    ):
        raise UnsupportedNetwork(_list_convolutions(layers))
    for name, group in groups.items():
        _check_group(name, group)
    return groups


def _list_convolutions(layers: Sequence[Layer]) -> str:
    names = [printable(layer["name"]) for layer in layers if layer["type"] == "conv"]
    return f"its convolutions are {', '.join(names[:9]) or 'none'}, expected conv1 to conv5"


def _group_unconnected(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """Return the groups for a file without `inputs`: the first normalization belongs to C1."""
    convolutions = {layer["name"]: layer for layer in layers if layer["type"] == "conv"}
    norms = [layer for layer in layers if layer["type"] in ("cmrnorm", "rnorm", "cnorm")]
    if set(convolutions) != set(NAMES):
        raise UnsupportedNetwork(_list_convolutions(layers))
    if [layer["type"] for layer in norms] != ["cmrnorm", "cmrnorm"]:
        raise UnsupportedNetwork(
            f"it has {len(norms)} layers of local response normalization, expected two across "
            "channels (cmrnorm), after C1 and C2"
        )
    _check_unconnected(layers)
    norms.sort(key=lambda layer: layer["name"])
    return {name: [convolutions[name], norm] for name, norm in zip(NAMES, norms, strict=False)}


def _check_unconnected(layers: Sequence[Layer]) -> None:
    """Raise UnsupportedNetwork if the layers cannot be those of ONE_GPU in any order."""
    rectified = set()
    for layer in layers:
        name, kind, function = printable(layer["name"]), str(layer["type"]), _function(layer)
        if kind not in ONE_GPU_KINDS and not kind.startswith("cost"):
            raise UnsupportedNetwork(
                f"{name} is a layer of type {printable(kind)}, which {ONE_GPU} does not have"
            )
        if kind == "pool":
            _check_pool(layer)
        if kind in ("fc", "softmax") or not function:
            continue
        if function != "relu" and (function != "ident" or kind == "neuron"):
            raise UnsupportedNetwork(f"{name} has the neuron {printable(function)}, expected relu")
        if function == "relu":
            rectified.add(str(layer["name"]).removesuffix("_neuron"))
    pools = [layer for layer in layers if layer["type"] == "pool"]
    if len(pools) != 3:
        raise UnsupportedNetwork(f"it has {len(pools)} pools, expected 3, after C1, C2 and C5")
    count = len(rectified - {layer["name"] for layer in layers if layer["type"] == "fc"})
    if count not in (0, len(NAMES)):  # 0: the file does not state any neuron
        raise UnsupportedNetwork(
            f"it has {count} rectified layers before the fully connected ones, expected"
            f" {len(NAMES)}"
        )


def _function(layer: Layer) -> str:
    """Return the name and parameters of a layer's neuron, or ''."""
    function = layer.get("neuron") or ""
    if not isinstance(function, Mapping):
        return str(function)
    return str(function["type"]) + (str(function["params"]) if function.get("params") else "")


def _check_group(name: str, group: Sequence[Layer]) -> None:
    """Raise UnsupportedNetwork if a convolution is not followed by the expected layers.

    The rectifier can be anywhere; the pooling follows the normalization.
    """
    operations = _list_operations(group)
    layer_name = LAYERS[name]
    expected = ["cmrnorm"] if layer_name in NORMALIZED else []
    expected += ["pool"] if CONVOLUTIONS[layer_name].pool else []
    if [kind for kind in operations if kind != "relu"] != expected or "relu" not in operations:
        raise UnsupportedNetwork(
            f"{name} is followed by {', '.join(map(printable, operations)) or 'no layer'}, "
            f"expected {', '.join([*expected, 'relu'])} (relu anywhere among them)"
        )
    for layer in group:
        if layer["type"] == "pool":
            _check_pool(layer)


def _list_operations(group: Sequence[Layer]) -> list[str]:
    """Return the types of the layers after a convolution, and the functions of all neurons."""
    operations = []
    for k, layer in enumerate(group):
        if layer["type"] not in ("conv", "neuron"):
            operations.append(str(layer["type"]))
        function = _function(layer)
        next_is_neuron = k + 1 < len(group) and group[k + 1]["type"] == "neuron"
        if function and not next_is_neuron:  # count a neuron that is a separate layer once
            operations.append(function)
    return operations


def _check_pool(layer: Layer) -> None:
    expected = {"sizeX": 3, "stride": 2, "start": 0}
    invalid = [o for o, value in expected.items() if _number(layer, o, value) != value]
    kind = layer.get("pool", "max")
    if invalid or kind != "max":
        options = {"pool": kind} | {o: layer.get(o) for o in invalid}
        settings = ", ".join(f"{o} {printable(value)}" for o, value in options.items())
        raise UnsupportedNetwork(
            f"{printable(layer['name'])} has {settings}, expected max pooling of size 3, stride 2"
        )


def _read_normalization(name: str, convolution: Layer, followers: Sequence[Layer]) -> Normalization:
    """Return the settings of C1 or C2; raise UnsupportedNetwork if they cannot be computed."""
    norm = next(layer for layer in followers if layer["type"] == "cmrnorm")
    norm_name = printable(norm["name"])
    missing = [o for o in ("scale", "size", "pow", "minDiv") if not _is_number(norm.get(o))]
    if missing:
        raise UnsupportedNetwork(f"{norm_name} does not state {', '.join(missing)}")
    if norm.get("blocked"):
        raise UnsupportedNetwork(
            f"{norm_name} normalizes in blocks of channels, expected around each channel"
        )
    before = itertools.takewhile(lambda layer: layer is not norm, [convolution, *followers])
    rectified = "relu" in _list_operations(list(before))
    paper = PAPER[NORMALIZED.index(name)]
    settings = Normalization(
        size=int(norm["size"]) if float(norm["size"]).is_integer() else 0,
        scale=float(norm["scale"]),
        power=float(norm["pow"]),
        offset=float(norm["minDiv"]),
        before_rectifier=not rectified and ("inputs" in norm or paper.before_rectifier),
        padding=int(abs(_number(convolution, "padding", paper.padding))),
    )
    problem = find_problem(name, settings)
    if problem:
        raise UnsupportedNetwork(f"{norm_name}: {problem}")
    return settings


def _number(layer: Layer, option: str, default: float) -> float:
    """Return an option, which may be a list with one value for each input."""
    value = layer.get(option, default)
    values = value if isinstance(value, list) else [value]
    if len(values) != 1 or not _is_number(values[0]):
        raise UnsupportedNetwork(
            f"{printable(layer['name'])} has {option} {printable(value)}, expected one number"
        )
    return values[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
