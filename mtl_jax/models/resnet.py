"""ResNet-18 (He et al. 2016, arXiv:1512.03385) with the fully connected layers of Table 3.

C1 is the stem with its pooling; C2 to C5 are the four stages of two blocks. There is no batch
normalization: when weights are converted it is folded into the convolutions with the statistics of
the pretraining data. Fixed statistics are usual when fine-tuning on few images, which would give
poor estimates. The folded scale and shift are trained as part of kernel and bias.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

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
