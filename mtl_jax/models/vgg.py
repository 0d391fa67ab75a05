"""VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556, D) with the layers F1 to F5 of Table 3.

C1 to C5 are its five blocks of 3x3 convolutions, each with its pooling.
"""

import flax.linen as nn
import jax

from mtl_jax.models.base import Convolution, Network
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
