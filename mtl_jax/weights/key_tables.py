"""Tables of the kernel shapes of each backbone, and of their names in source checkpoints.

A layer is a path: 'C1', or 'C2/block1/conv1' where C2 has several convolutions.
"""

from dataclasses import dataclass, field

from mtl_jax.models.alexnet import CONVOLUTIONS
from mtl_jax.models.base import CONVOLUTIONAL, FULLY_CONNECTED
from mtl_jax.models.resnet import STAGES
from mtl_jax.models.vgg import BLOCKS

LEAVES = ("kernel", "bias")


def _vgg16() -> dict[str, tuple[int, ...]]:
    kernels, channels = {}, 3
    for block, (count, features) in BLOCKS.items():
        for k in range(1, count + 1):
            kernels[f"{block}/conv{k}"] = (3, 3, channels, features)
            channels = features
    return kernels


def _resnet18() -> dict[str, tuple[int, ...]]:
    kernels, channels = {"C1/conv1": (7, 7, 3, 64)}, 64
    for stage, (features, _) in STAGES.items():
        for block in ("block1", "block2"):
            kernels[f"{stage}/{block}/conv1"] = (3, 3, channels, features)
            kernels[f"{stage}/{block}/conv2"] = (3, 3, features, features)
            if channels != features:
                kernels[f"{stage}/{block}/shortcut"] = (1, 1, channels, features)
            channels = features
    return kernels


def _fully_connected(inputs: int) -> dict[str, tuple[int, ...]]:
    widths = (inputs, *FULLY_CONNECTED.values(), 2)
    return {f"F{i}": (widths[i - 1], widths[i]) for i in range(1, 6)}


# Convolutions are (row, column, in, out), fully connected layers (in, out).
KERNELS: dict[str, dict[str, tuple[int, ...]]] = {
    "alexnet": {n: (c.size, c.size, c.channels, c.features) for n, c in CONVOLUTIONS.items()}
    | _fully_connected(3 * 3 * 256),
    "vgg16": _vgg16() | _fully_connected(4 * 4 * 512),
    "resnet18": _resnet18() | _fully_connected(512),
}
# Last map, if F1 flattens it: features, size with 128-pixel input, size with the source's 224.
LAST_MAP = {"alexnet": (256, 3, 6), "vgg16": (512, 4, 7)}


@dataclass(frozen=True)
class Scheme:
    """The names of one kind of source checkpoint for the layers of a backbone."""

    name: str
    backbone: str
    layers: dict[str, str]  # layer path -> name in the source
    torch_axes: bool  # kernels, named weight, are (out, in, row, column) and (out, in)
    norms: dict[str, str] = field(default_factory=dict)  # layer path -> its batch normalization
    biased: bool = True  # the convolutions have a bias
    dropped: tuple[str, ...] = ()  # layers of the source that this network does not have

    @property
    def kernel(self) -> str:
        """The name of a layer's kernel in the source."""
        return "weight" if self.torch_axes else "kernel"


def _numbered(indices: tuple[int, ...]) -> dict[str, str]:
    return dict(zip(_vgg16(), (f"features.{n}" for n in indices), strict=True))


def _torch_resnet18(kind: str, shortcut: str) -> dict[str, str]:
    """Return torchvision's names; `kind` is conv or bn, `shortcut` its index in downsample."""
    names = {}
    for path in _resnet18():
        stage, *inner = path.split("/")
        if stage == "C1":
            names[path] = f"{kind}1"
            continue
        block, conv = inner
        leaf = f"downsample.{shortcut}" if conv == "shortcut" else conv.replace("conv", kind)
        names[path] = f"layer{int(stage[1]) - 1}.{int(block[-1]) - 1}.{leaf}"
    return names


VGG_CLASSIFIER = {"F1": "classifier.0", "F2": "classifier.3", "F3": "classifier.6"}
# Indices of the convolutions in `features`; in vgg16_bn each normalization has the next index.
VGG16_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG16_BN_INDICES = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)

SCHEMES = (
    Scheme(
        "torchvision",
        "alexnet",
        {
            "C1": "features.0",
            "C2": "features.3",
            "C3": "features.6",
            "C4": "features.8",
            "C5": "features.10",
            "F1": "classifier.1",
            "F2": "classifier.4",
            "F3": "classifier.6",
        },
        torch_axes=True,
    ),
    Scheme("torchvision", "vgg16", _numbered(VGG16_INDICES) | VGG_CLASSIFIER, torch_axes=True),
    Scheme(
        "torchvision, batch normalized,",
        "vgg16",
        _numbered(VGG16_BN_INDICES) | VGG_CLASSIFIER,
        torch_axes=True,
        norms=_numbered(tuple(n + 1 for n in VGG16_BN_INDICES)),
    ),
    Scheme(
        "torchvision",
        "resnet18",
        _torch_resnet18("conv", "0"),
        torch_axes=True,
        norms=_torch_resnet18("bn", "1"),
        biased=False,
        dropped=("fc",),
    ),
    Scheme(
        "conv1..conv5",
        "alexnet",
        {layer: f"conv{layer[1]}" for layer in CONVOLUTIONAL}
        | {layer: f"fc{layer[1]}" for layer in ("F1", "F2", "F3")},
        torch_axes=False,
    ),
    *(
        Scheme(
            "mtl_jax", name, {path: path.replace("/", ".") for path in kernels}, torch_axes=False
        )
        for name, kernels in KERNELS.items()
    ),
)
