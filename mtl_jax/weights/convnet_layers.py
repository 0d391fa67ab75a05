"""Whether the layers of a cuda-convnet2 checkpoint make up the network here.

cuda-convnet2 (layer.py) stores every option of a layer's definition with the layer: `stride`,
negative `padding`, `neuron`, and the names of its `inputs`; a neuron is also a layer of its own.
Of response normalization it stores `scale` divided by `size`, and computes
x * (minDiv + scale * sum) ** -pow.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.models.alexnet import CONVOLUTIONS
from mtl_jax.models.response_norm import NORMALIZED, PAPER, Normalization, problem, to_json
from mtl_jax.weights.state_dict import shown

Layer = Mapping[str, Any]
LAYERS = {f"conv{name[1]}": name for name in CONVOLUTIONS}  # its name of a convolution -> ours
NAMES = tuple(LAYERS)
ONE_GPU = "layers-imagenet-1gpu.cfg"
ONE_GPU_KINDS = ("data", "conv", "pool", "cmrnorm", "neuron", "fc", "softmax")


class Differs(Exception):
    """The checkpoint is of a network that cannot be computed here."""


def check(layers: Sequence[Layer]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the settings of response normalization, as a card has them, and notes.

    Raises Differs, naming the layer and the option, where the network is another one.
    """
    for layer in layers:
        if layer["type"] == "conv":
            _check_convolution(layer)
    parts = _parts(layers) if any("inputs" in layer for layer in layers) else _unconnected(layers)
    settings = []
    for name in NORMALIZED:
        convolution, *behind = parts[f"conv{name[1]}"]
        settings.append(_normalization(name, convolution, behind))
    dense = [shown(layer["name"]) for layer in layers if layer["type"] == "fc"]
    notes = [f"fully connected layers left out: {', '.join(dense)}"] if dense else []
    if not any("inputs" in layer for layer in layers):
        notes.append(f"the file connects no layers: taken as those of {ONE_GPU}")
    return to_json(tuple(settings)), tuple(notes)


def _check_convolution(layer: Layer) -> None:
    name = shown(layer["name"])
    groups = _number(layer, "groups", 1)
    if groups != 1:
        raise Differs(
            f"{name} has {groups:g} groups of kernels, each of which sees a part of the maps; the "
            "network here has one group"
        )
    if layer["name"] not in LAYERS:
        return  # the names together are checked later
    own = CONVOLUTIONS[LAYERS[layer["name"]]]
    expected = {"stride": own.stride, "filterSize": own.size, "channels": own.channels}
    if layer["name"] != NAMES[0]:
        expected["padding"] = own.pad
    for option, value in expected.items():
        found = abs(_number(layer, option, value))
        if found != value:
            raise Differs(f"{name} has {option} {found:g}, the network here {value}")
    if _number(layer, "dilation", 1) != 1:
        raise Differs(f"{name} has dilated kernels, the network here has none")
    sparse = layer.get("randSparse", False)
    if any(sparse) if isinstance(sparse, list) else sparse:
        raise Differs(f"{name} sees randomly chosen maps (randSparse), the network here all")
    if not layer.get("sharedBiases", True):
        raise Differs(f"{name} has a bias for every pixel, the network here one for every map")


def _parts(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """Return each convolution with what follows it, up to the next one or the first fully
    connected."""
    named = {layer["name"]: layer for layer in layers}
    followers: dict[str, list[Layer]] = {}
    for layer in layers:
        for source in layer.get("inputs", ()):
            # Older checkpoints number the layers.
            key = layers[source]["name"] if isinstance(source, int) else source
            if key not in named:
                raise Differs(f"{shown(layer['name'])} has an input that is not in the file")
            followers.setdefault(key, []).append(layer)
    if NAMES[0] not in named:
        raise Differs(_other_convolutions(layers))
    layer, current = named[NAMES[0]], ""
    sources = [
        other["type"]
        for other in layers
        if any(behind is layer for behind in followers.get(other["name"], ()))
    ]
    if sources != ["data"]:
        raise Differs(f"{NAMES[0]} does not take the images as they are")
    parts: dict[str, list[Layer]] = {}
    for _ in layers:  # a file can connect them in a circle
        if layer["type"] == "fc":
            break
        if layer["type"] == "conv":
            current = layer["name"]
            if current not in NAMES[len(parts) : len(parts) + 1]:
                raise Differs(f"{shown(current)} is not where the network here has a convolution")
            parts[current] = []
        parts[current].append(layer)
        behind = followers.get(layer["name"], [])
        if len(behind) > 1:
            raise Differs(f"the maps of {shown(layer['name'])} go to several layers")
        if not behind:
            break
        layer = behind[0]
    if tuple(parts) != NAMES or any(
        layer["type"] == "conv" and layer["name"] not in parts for layer in layers
    ):
        raise Differs(_other_convolutions(layers))
    for name, part in parts.items():
        _check_part(name, part)
    return parts


def _other_convolutions(layers: Sequence[Layer]) -> str:
    names = [shown(layer["name"]) for layer in layers if layer["type"] == "conv"]
    return f"its convolutions are {', '.join(names[:9]) or 'none'}, expected conv1 to conv5"


def _unconnected(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """As `_parts`, of a file without `inputs`: the first normalization is C1's."""
    convolutions = {layer["name"]: layer for layer in layers if layer["type"] == "conv"}
    norms = [layer for layer in layers if layer["type"] in ("cmrnorm", "rnorm", "cnorm")]
    if set(convolutions) != set(NAMES):
        raise Differs(_other_convolutions(layers))
    if [layer["type"] for layer in norms] != ["cmrnorm", "cmrnorm"]:
        raise Differs(
            f"{len(norms)} layers of local response normalization; the network here has two across "
            "maps (cmrnorm), behind C1 and C2"
        )
    _check_unconnected(layers)
    norms.sort(key=lambda layer: layer["name"])
    return {name: [convolutions[name], norm] for name, norm in zip(NAMES, norms, strict=False)}


def _check_unconnected(layers: Sequence[Layer]) -> None:
    """Raise Differs where the layers cannot be those of ONE_GPU, whatever connects them."""
    rectified = set()
    for layer in layers:
        name, kind, function = shown(layer["name"]), str(layer["type"]), _function(layer)
        if kind not in ONE_GPU_KINDS and not kind.startswith("cost"):
            raise Differs(f"{name} is a layer of type {shown(kind)}, which {ONE_GPU} has not")
        if kind == "pool":
            _check_pool(layer)
        if kind in ("fc", "softmax") or not function:
            continue
        if function != "relu" and (function != "ident" or kind == "neuron"):
            raise Differs(f"{name} has the neuron {shown(function)}; the network here has relu")
        if function == "relu":
            rectified.add(str(layer["name"]).removesuffix("_neuron"))
    pools = [layer for layer in layers if layer["type"] == "pool"]
    if len(pools) != 3:
        raise Differs(f"it has {len(pools)} pools; the network here has 3, behind C1, C2 and C5")
    stated = len(rectified - {layer["name"] for layer in layers if layer["type"] == "fc"})
    if stated not in (0, len(NAMES)):  # none: the file states no neurons at all
        raise Differs(
            f"{stated} layers before the fully connected ones are rectified; the network here"
            f" has {len(NAMES)}"
        )


def _function(layer: Layer) -> str:
    """Return the name of a layer's neuron, with its parameters; '' where it states none."""
    function = layer.get("neuron") or ""
    if not isinstance(function, Mapping):
        return str(function)
    return str(function["type"]) + (str(function["params"]) if function.get("params") else "")


def _check_part(name: str, part: Sequence[Layer]) -> None:
    """Raise Differs where a convolution is not followed by what the network here has behind it:
    its rectifier anywhere, its pool behind its normalization."""
    types = [kind for kind in _operations(part) if kind != "relu"]
    ours = LAYERS[name]
    norm = ["cmrnorm"] if ours in NORMALIZED else []
    expected = norm + (["pool"] if CONVOLUTIONS[ours].pool else [])
    rectifiers = _operations(part).count("relu")
    if types != expected or not rectifiers:
        raise Differs(
            f"behind {name} the file has {', '.join(map(shown, _operations(part))) or 'nothing'}; "
            f"the network here has {', '.join([*expected, 'relu'])} (relu anywhere among them)"
        )
    for layer in part:
        if layer["type"] == "pool":
            _check_pool(layer)


def _operations(part: Sequence[Layer]) -> list[str]:
    """Return the types of layers behind a convolution, with the neurons of all by their
    functions."""
    found = []
    for k, layer in enumerate(part):
        if layer["type"] not in ("conv", "neuron"):
            found.append(str(layer["type"]))
        function = _function(layer)
        detached = k + 1 < len(part) and part[k + 1]["type"] == "neuron"
        if function and not detached:  # a neuron that is a layer of its own counts once
            found.append(function)
    return found


def _check_pool(layer: Layer) -> None:
    expected = {"sizeX": 3, "stride": 2, "start": 0}
    wrong = [o for o, value in expected.items() if _number(layer, o, value) != value]
    kind = layer.get("pool", "max")
    if wrong or kind != "max":
        options = {"pool": kind} | {o: layer.get(o) for o in wrong}
        listed = ", ".join(f"{o} {shown(value)}" for o, value in options.items())
        raise Differs(
            f"{shown(layer['name'])} has {listed}; the network here takes the maximum of windows "
            "of 3 at stride 2"
        )


def _normalization(name: str, convolution: Layer, behind: Sequence[Layer]) -> Normalization:
    """Return the settings of C1 or C2."""
    norm = next(layer for layer in behind if layer["type"] == "cmrnorm")
    where = shown(norm["name"])
    missing = [o for o in ("scale", "size", "pow", "minDiv") if not _is_number(norm.get(o))]
    if missing:
        raise Differs(f"{where} does not state {', '.join(missing)}")
    if norm.get("blocked"):
        raise Differs(f"{where} normalizes in blocks of maps, the network here around each map")
    before = itertools.takewhile(lambda layer: layer is not norm, [convolution, *behind])
    rectified = "relu" in _operations(list(before))
    paper = PAPER[NORMALIZED.index(name)]
    settings = Normalization(
        size=int(norm["size"]) if float(norm["size"]).is_integer() else 0,
        scale=float(norm["scale"]),
        power=float(norm["pow"]),
        offset=float(norm["minDiv"]),
        before_rectifier=not rectified and ("inputs" in norm or paper.before_rectifier),
        padding=int(abs(_number(convolution, "padding", paper.padding))),
    )
    fault = problem(name, settings)
    if fault:
        raise Differs(f"{where}: {fault}")
    return settings


def _number(layer: Layer, option: str, default: float) -> float:
    """Return an option, of which a list holds one for each input."""
    value = layer.get(option, default)
    values = value if isinstance(value, list) else [value]
    if len(values) != 1 or not _is_number(values[0]):
        raise Differs(f"{shown(layer['name'])} has {option} {shown(value)}, expected one number")
    return values[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
