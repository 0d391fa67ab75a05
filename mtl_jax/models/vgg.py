"""VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556, configuration D) with the head of Table 3.

C1..C5 are its five blocks of 3x3 convolutions, each ended by its pool.
"""

import flax.linen as nn
import jax

from mtl_jax.models.base import Convolution, Network
from mtl_jax.models.max_pool import max_pool

BLOCKS = {  # the number of convolutions of a block, and of their maps
    "C1": (2, 64),
    "C2": (2, 128),
    "C3": (3, 256),
    "C4": (3, 512),
    "C5": (3, 512),
}


class Block(nn.Module):
    """`count` rectified 3x3 convolutions, conv1, conv2 ..., and a 2x2 maximum of stride 2."""

    count: int
    features: int
    gray: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for k in range(1, self.count + 1):
            gray = self.gray and k == 1
            x = Convolution(self.features, 3, pad=1, gray=gray, name=f"conv{k}")(x)
            # The rectifier after the pool is the same as before it, on a quarter of the numbers.
            x = nn.relu(max_pool(x, 2) if k == self.count else x)
        return x


class VGG16(Network):
    """Maps of 64, 32, 16, 8 and 4 pixels behind the pools, on 128x128 input.

    F1 takes the last map flattened, 4x4x512, as the original's first fully connected layer takes
    its 7x7x512: where in the ROI a feature stands is kept.
    """

    def stage(self, name: str) -> nn.Module:
        return Block(*BLOCKS[name], gray=name == "C1", name=name)
