"""VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556, D) with the layers F1 to F5 of Table 3.

C1 to C5 are its five blocks of 3x3 convolutions, each with its pooling.
"""

from collections.abc import Iterable

import flax.linen as nn
import jax

from mtl_jax.models.backbone import Backbone, KeyMap, layer_keys
from mtl_jax.models.base import Convolution, ConvSpec, Network
from mtl_jax.models.max_pool import max_pool

# Convolutions in a block, and their features.
BLOCKS = {"C1": (2, 64), "C2": (2, 128), "C3": (3, 256), "C4": (3, 512), "C5": (3, 512)}


class Block(nn.Module):
    """`count` rectified 3x3 convolutions, conv1, conv2 ..., and 2x2 max pooling of stride 2."""

    count: int
    features: int
    gray: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for k in range(1, self.count + 1):
            gray = self.gray and k == 1
            x = Convolution(self.features, 3, pad=1, gray=gray, name=f"conv{k}")(x)
            # The rectifier commutes with max pooling and has a quarter of the values after it.
            x = nn.relu(max_pool(x, 2) if k == self.count else x)
        return x


class VGG16(Network):
    """VGG16 on 128x128 input: C1 to C5 return maps of 64, 32, 16, 8 and 4 pixels.

    The input of F1 is the flattened last map of 4x4x512, as in the original network (7x7x512), so
    the position of a feature in the ROI is kept.
    """

    def stage(self, name: str) -> nn.Module:
        return Block(*BLOCKS[name], gray=name == "C1", name=name)

    def convolution_chain(self) -> tuple[ConvSpec, ...]:
        return tuple(
            ConvSpec(path, 1, (1, 1), None, 2 * (path in LAST_CONVOLUTIONS))
            for path in CONVOLUTIONS
        )


CONVOLUTIONS = [f"{block}/conv{k}" for block, (n, _) in BLOCKS.items() for k in range(1, n + 1)]
LAST_CONVOLUTIONS = [f"{block}/conv{n}" for block, (n, _) in BLOCKS.items()]  # of each block
# Indices of the convolutions in `features` of torchvision's vgg16; in vgg16_bn each normalization
# has the next index.
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
BN_INDICES = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
CLASSIFIER = {"F1": "classifier.0", "F2": "classifier.3", "F3": "classifier.6"}


def _numbered(indices: Iterable[int]) -> dict[str, str]:
    return dict(zip(CONVOLUTIONS, (f"features.{n}" for n in indices), strict=True))


BACKBONE = Backbone(
    network=VGG16,
    title="VGG16",
    citation="Simonyan and Zisserman 2015, arXiv:1409.1556",
    source="torchvision's vgg16",
    key_maps=(
        KeyMap("torchvision", layer_keys(_numbered(INDICES) | CLASSIFIER)),
        KeyMap(
            "torchvision, batch normalized,",
            layer_keys(_numbered(BN_INDICES) | CLASSIFIER),
            norms=_numbered(n + 1 for n in BN_INDICES),
        ),
    ),
    summary="VGG16 (Simonyan and Zisserman 2015), whose five blocks of convolutions are treated as "
    "five layers, and five fully connected layers as in the paper's AlexNet",
    layers="VGG16 with five blocks (C) of two or three convolutions with ReLU, each followed by "
    "2 × 2 max pooling of stride 2 (the map size is that after pooling), and five fully connected "
    "layers (F)",
)
