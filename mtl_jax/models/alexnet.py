"""AlexNet of Table 3: five convolutions, five fully connected layers, 10,446 nodes.

Layers are named C1..C5, F1..F5 and can be applied from any one to any later one, which freezing,
feature extraction and visualization all rest on. Knows nothing of training.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.models.max_pool import max_pool
from mtl_jax.models.network import (
    DROPPED_OUT,
    FULLY_CONNECTED,
    LAYERS,
    Convolution,
    Network,
    init,
    layers_between,
)
from mtl_jax.nouns import Params

__all__ = [
    "CONVOLUTIONS",
    "DROPPED_OUT",
    "FULLY_CONNECTED",
    "LAYERS",
    "NORMALIZED",
    "AlexNet",
    "forward",
    "init",
    "layers_between",
    "local_response_normalization",
]


class Geometry(NamedTuple):
    channels: int
    features: int
    size: int
    stride: int
    pad: int
    pool: bool  # 3x3 maximum, stride 2


CONVOLUTIONS = {
    "C1": Geometry(3, 64, 11, 4, 2, True),
    "C2": Geometry(64, 192, 5, 1, 2, True),
    "C3": Geometry(192, 384, 3, 1, 1, False),
    "C4": Geometry(384, 256, 3, 1, 1, False),
    "C5": Geometry(256, 256, 3, 1, 1, True),
}
NORMALIZED = ("C1", "C2")  # by local response normalization, where the weights were made with it


class Layer(Convolution):
    """A convolution, rectifier, normalization where `lrn`, and pool where the layer has one."""

    lrn: bool = False
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = super().__call__(x)
        if self.lrn:
            x = local_response_normalization(nn.relu(x))
            return max_pool(x) if self.pool else x
        # The rectifier after the pool is the same as before it, on a quarter of the numbers.
        return nn.relu(max_pool(x) if self.pool else x)


class AlexNet(Network):
    """Maps of 31, 15, 7 and 3 pixels on 128x128 input.

    `lrn` follows the pretrained weights: torchvision's have none.
    """

    lrn: bool = False

    def stage(self, name: str) -> nn.Module:
        layer = CONVOLUTIONS[name]
        return Layer(
            layer.features,
            layer.size,
            layer.stride,
            layer.pad,
            gray=name == "C1",
            lrn=self.lrn and name in NORMALIZED,
            pool=layer.pool,
            name=name,
        )


def forward(
    params: Params, x: jax.Array, first: str = "C1", last: str = "F5", lrn: bool = False
) -> jax.Array:
    """Layers `first` to `last` on `x` (NHWC float32) with `params`, without dropout."""
    outputs = params["F5"]["kernel"].shape[-1] if last == "F5" else 2
    return AlexNet(outputs, lrn=lrn).apply({"params": params}, jnp.asarray(x), first, last)


def local_response_normalization(x: jax.Array) -> jax.Array:
    """`x` (n, h, w, c) normalized over channels (Krizhevsky et al. 2012, section 3.3)."""
    neighbours = jax.lax.reduce_window(
        x * x, 0.0, jax.lax.add, (1, 1, 1, 5), (1, 1, 1, 1), ((0, 0), (0, 0), (0, 0), (2, 2))
    )
    return x / (2.0 + 1e-4 * neighbours) ** 0.75
