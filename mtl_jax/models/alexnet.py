"""AlexNet of Table 3: five convolutions, five fully connected layers, 10,446 nodes.

Layers are named C1..C5, F1..F5 and can be applied from any one to any later one, which freezing,
feature extraction and visualization all rest on.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.models import response_norm
from mtl_jax.models.base import (
    DROPOUT_LAYERS,
    FULLY_CONNECTED,
    LAYERS,
    Convolution,
    Network,
    init,
    layers_between,
)
from mtl_jax.models.max_pool import max_pool
from mtl_jax.models.response_norm import (
    MAX_PADDING,
    Lrn,
    Normalization,
    local_response_normalization,
)
from mtl_jax.types import Params

__all__ = [
    "CONVOLUTIONS",
    "DROPOUT_LAYERS",
    "FULLY_CONNECTED",
    "LAYERS",
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


class Layer(Convolution):
    """A convolution, rectifier, normalization where `lrn`, and pool where the layer has one."""

    lrn: Normalization | None = None
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = super().__call__(x)
        if self.lrn:
            x = x if self.lrn.before_rectifier else nn.relu(x)
            x = local_response_normalization(x, self.lrn)
        # The rectifier after the pool is the same as before it, on a quarter of the numbers.
        return nn.relu(max_pool(x) if self.pool else x)


class AlexNet(Network):
    """Maps of 31, 15, 7 and 3 pixels on 128x128 input.

    `lrn` follows the pretrained weights (`response_norm`): torchvision's have none.
    """

    lrn: Lrn = False

    def stage(self, name: str) -> nn.Module:
        layer, lrn = CONVOLUTIONS[name], response_norm.layer_settings(self.lrn).get(name)
        return Layer(
            layer.features,
            layer.size,
            layer.stride,
            conv_padding(name, self.lrn),
            gray=name == "C1",
            lrn=lrn,
            pool=layer.pool,
            name=name,
        )


def conv_padding(name: str, lrn: Lrn) -> tuple[int, int]:
    """Zeros before and behind the rows and columns of the input of convolution `name`."""
    layer, settings = CONVOLUTIONS[name], response_norm.layer_settings(lrn).get(name)
    if name == "C1" and settings:
        # Behind, as many as the last window needs: maps of 31 on 128 pixels, whatever comes before.
        return settings.padding, MAX_PADDING - settings.padding
    return layer.pad, layer.pad


def forward(
    params: Params, x: jax.Array, first: str = "C1", last: str = "F5", lrn: Lrn = False
) -> jax.Array:
    """Layers `first` to `last` on `x` (NHWC float32) with `params`, without dropout."""
    outputs = params["F5"]["kernel"].shape[-1] if last == "F5" else 2
    return AlexNet(outputs, lrn=lrn).apply({"params": params}, jnp.asarray(x), first, last)
