"""ResNet-18 (He et al. 2016, arXiv:1512.03385) with the head of Table 3, batch norms folded.

C1 is the stem with its pool, C2..C5 are the four stages of two blocks. There is no batch
normalization: it is folded into the convolutions when weights are converted, at the statistics of
the source task. Few images would give poor ones, and fixed statistics are usual in fine-tuning on
few; the folded scale and shift are trained as a part of kernel and bias.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.models.base import Convolution, Network
from mtl_jax.models.max_pool import max_pool

STAGES = {"C2": (64, 1), "C3": (128, 2), "C4": (256, 2), "C5": (512, 2)}  # maps, first stride
BLOCKS = 2  # of a stage


class Stem(nn.Module):
    """A rectified 7x7 convolution of stride 2, and a 3x3 maximum of stride 2 with a rim of 1."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Convolution(64, 7, stride=2, pad=3, gray=True, name="conv1")(x)
        rim = ((0, 0), (1, 1), (1, 1), (0, 0))
        return nn.relu(max_pool(jnp.pad(x, rim, constant_values=-jnp.inf)))


class Block(nn.Module):
    """Two 3x3 convolutions whose result is added to the input, rectified; where size or number of
    maps change, a 1x1 convolution (`shortcut`) brings the input to them."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # Without normalization every sum would double the second moment of random starts. So each
        # of the eight residuals adds an eighth: in all a factor of e at most, and none is dead.
        share = 1.0 / (BLOCKS * len(STAGES))
        y = nn.relu(Convolution(self.features, 3, self.stride, 1, name="conv1")(x))
        y = Convolution(self.features, 3, pad=1, scale=share, name="conv2")(y)
        if x.shape[1:] != y.shape[1:]:
            x = Convolution(self.features, 1, self.stride, name="shortcut")(x)
        return nn.relu(x + y)


class Stage(nn.Module):
    """Two blocks, block1 of this stride and block2 of stride 1."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Block(self.features, self.stride, name="block1")(x)
        return Block(self.features, 1, name="block2")(x)


class ResNet18(Network):
    """Maps of 32, 32, 16, 8 and 4 pixels behind C1 to C5, on 128x128 input.

    F1 takes the mean of the last map over its pixels, 512 numbers, as the original's one fully
    connected layer does: its features were learned to be averaged, and F1 has a sixteenth of the
    weights to learn from few images.
    """

    def stage(self, name: str) -> nn.Module:
        return Stem(name=name) if name == "C1" else Stage(*STAGES[name], name=name)

    def flatten(self, x: jax.Array) -> jax.Array:
        return x.mean((1, 2))
