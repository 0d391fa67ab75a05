"""ResNet-18 (He et al. 2016, arXiv:1512.03385) with the fully connected layers of Table 3.

C1 is the stem with its pooling; C2 to C5 are the four stages of two blocks. There is no batch
normalization: when weights are converted it is folded into the convolutions with the statistics of
the pretraining data. Fixed statistics are usual when fine-tuning on few images, which would give
poor estimates. The folded scale and shift are trained as part of kernel and bias.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.models.backbone import Backbone, KeyMap
from mtl_jax.models.base import Convolution, Network
from mtl_jax.models.max_pool import max_pool

# Features, stride of the first block.
STAGES = {"C2": (64, 1), "C3": (128, 2), "C4": (256, 2), "C5": (512, 2)}
BLOCKS = 2  # in each stage


class Stem(nn.Module):
    """A rectified 7x7 convolution of stride 2, and 3x3 max pooling of stride 2 with padding 1."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Convolution(64, 7, stride=2, pad=3, gray=True, name="conv1")(x)
        padding = ((0, 0), (1, 1), (1, 1), (0, 0))
        return nn.relu(max_pool(jnp.pad(x, padding, constant_values=-jnp.inf)))


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, rectified after the sum.

    Where the shape changes, the shortcut is a 1x1 convolution.
    """

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # Without normalization each sum would double the second moment at random initialization.
        # So each of the eight residuals adds an eighth: a factor of at most e in all.
        scale = 1.0 / (BLOCKS * len(STAGES))
        y = nn.relu(Convolution(self.features, 3, self.stride, 1, name="conv1")(x))
        y = Convolution(self.features, 3, pad=1, scale=scale, name="conv2")(y)
        if x.shape[1:] != y.shape[1:]:
            x = Convolution(self.features, 1, self.stride, name="shortcut")(x)
        return nn.relu(x + y)


class Stage(nn.Module):
    """Two blocks: block1 with the given stride, block2 with stride 1."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Block(self.features, self.stride, name="block1")(x)
        return Block(self.features, 1, name="block2")(x)


class ResNet18(Network):
    """ResNet-18 on 128x128 input: C1 to C5 return maps of 32, 32, 16, 8 and 4 pixels.

    The input of F1 is the global average of the last map, 512 values, as in the original network:
    its features were trained to be averaged, and F1 then has a sixteenth of the weights.
    """

    def stage(self, name: str) -> nn.Module:
        return Stem(name=name) if name == "C1" else Stage(*STAGES[name], name=name)

    def flatten(self, x: jax.Array) -> jax.Array:
        return x.mean((1, 2))


def batch_normalized(convolutions: dict[str, str], norms: dict[str, str]) -> KeyMap:
    """Return the key map of a ResNet of torchvision from the names of its convolutions, which have
    no bias, and of their batch normalizations, both by path."""
    keys = {f"{path}/kernel": f"{name}.weight" for path, name in convolutions.items()}
    return KeyMap("torchvision", keys, norms=norms, dropped=("fc",))


def _names(kind: str, shortcut: str) -> dict[str, str]:
    """Return torchvision's names of the convolutions (kind conv) or of their batch normalizations
    (kind bn) by the path of the convolution; `shortcut` is their index in downsample."""
    names = {"C1/conv1": f"{kind}1"}
    for number, (stage, (_, stride)) in enumerate(STAGES.items(), 1):
        for block in range(BLOCKS):
            path, source = f"{stage}/block{block + 1}", f"layer{number}.{block}"
            names |= {f"{path}/conv{k}": f"{source}.{kind}{k}" for k in (1, 2)}
            if block == 0 and stride > 1:
                names[f"{path}/shortcut"] = f"{source}.downsample.{shortcut}"
    return names


BACKBONE = Backbone(
    network=ResNet18,
    title="ResNet-18",
    citation="He et al. 2016, arXiv:1512.03385",
    source="torchvision's resnet18",
    key_maps=(batch_normalized(_names("conv", "0"), _names("bn", "1")),),
    summary="ResNet-18 (He et al. 2016), whose stem and four stages are treated as five layers, "
    "with batch normalization folded into the convolutions at the statistics of its pretraining, "
    "global average pooling, and five fully connected layers as in the paper's AlexNet",
    layers="ResNet-18 with a stem and four stages of two blocks (C; the map size is that of the "
    "output, the filter that of the first convolution), batch normalization folded into the "
    "convolutions, and five fully connected layers (F) after global average pooling",
    no_maps="There are no deconvolution maps: they are defined for a chain of convolutions, and "
    "ResNet-18 has residual connections.",
)
