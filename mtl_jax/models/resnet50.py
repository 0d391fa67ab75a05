"""ResNet-50 (He et al. 2016, arXiv:1512.03385) with the fully connected layers of Table 3.

C1 is the stem with its pooling; C2 to C5 are the four stages of bottleneck blocks. Batch
normalization is folded into the convolutions, as in ResNet-18. The stride is in the 3x3
convolution, as in torchvision.
"""

import flax.linen as nn
import jax

from mtl_jax.models.backbone import Backbone
from mtl_jax.models.base import Convolution, Network
from mtl_jax.models.resnet import Stem, batch_normalized

# Blocks, features of their 3x3 convolutions, stride of the first block.
STAGES = {"C2": (3, 64, 1), "C3": (4, 128, 2), "C4": (6, 256, 2), "C5": (3, 512, 2)}
EXPANSION = 4  # output features of a block as a multiple of those of its 3x3 convolution


class Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions, rectified after the sum.

    The first block of a stage has a 1x1 convolution as its shortcut.
    """

    features: int
    stride: int
    is_first: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # As in ResNet-18: the sums of all blocks together grow the second moment by at most e.
        scale = 1.0 / sum(count for count, _, _ in STAGES.values())
        y = nn.relu(Convolution(self.features, 1, name="conv1")(x))
        y = nn.relu(Convolution(self.features, 3, self.stride, 1, name="conv2")(y))
        y = Convolution(EXPANSION * self.features, 1, scale=scale, name="conv3")(y)
        if self.is_first:
            x = Convolution(EXPANSION * self.features, 1, self.stride, scale=1.0, name="shortcut")(
                x
            )
        return nn.relu(x + y)


class Stage(nn.Module):
    """Bottleneck blocks block1, block2 ..., the first with the given stride."""

    count: int
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for k in range(1, self.count + 1):
            stride = self.stride if k == 1 else 1
            x = Bottleneck(self.features, stride, k == 1, name=f"block{k}")(x)
        return x


class ResNet50(Network):
    """ResNet-50 on 128x128 input: C1 to C5 return maps of 32, 32, 16, 8 and 4 pixels.

    The input of F1 is the global average of the last map, 2048 values.
    """

    def stage(self, name: str) -> nn.Module:
        return Stem(name=name) if name == "C1" else Stage(*STAGES[name], name=name)

    def flatten(self, x: jax.Array) -> jax.Array:
        return x.mean((1, 2))


def _names(kind: str, shortcut: str) -> dict[str, str]:
    """Return torchvision's names of the convolutions (kind conv) or of their batch normalizations
    (kind bn) by the path of the convolution; `shortcut` is their index in downsample."""
    names = {"C1/conv1": f"{kind}1"}
    for number, (stage, (count, _, _)) in enumerate(STAGES.items(), 1):
        names[f"{stage}/block1/shortcut"] = f"layer{number}.0.downsample.{shortcut}"
        for block in range(count):
            path, source = f"{stage}/block{block + 1}", f"layer{number}.{block}"
            names |= {f"{path}/conv{k}": f"{source}.{kind}{k}" for k in (1, 2, 3)}
    return names


BACKBONE = Backbone(
    network=ResNet50,
    title="ResNet-50",
    citation="He et al. 2016, arXiv:1512.03385",
    source="torchvision's resnet50",
    key_maps=(batch_normalized(_names("conv", "0"), _names("bn", "1")),),
    summary="ResNet-50 (He et al. 2016), whose stem and four stages are treated as five layers, "
    "with batch normalization folded into the convolutions at the statistics of its pretraining, "
    "global average pooling, and five fully connected layers as in the paper's AlexNet",
    layers="ResNet-50 with a stem and four stages of three, four, six and three bottleneck blocks "
    "(C; the map size is that of the output, the filter that of the first convolution), batch "
    "normalization folded into the convolutions, and five fully connected layers (F) after global "
    "average pooling",
    no_maps="There are no deconvolution maps: they are defined for a chain of convolutions, and "
    "ResNet-50 has residual connections.",
)
