"""AlexNet of Samala et al. 2017, Table 3: five convolutions, five fully connected layers.

It has 10,446 nodes. The layers are named C1 to C5 and F1 to F5.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mtl_jax.models import response_norm
from mtl_jax.models.backbone import Backbone, KeyMap, layer_keys
from mtl_jax.models.base import (
    DROPOUT_LAYERS,
    FULLY_CONNECTED,
    Convolution,
    ConvSpec,
    Network,
    init,
)
from mtl_jax.models.max_pool import max_pool
from mtl_jax.models.precision import FLOAT32
from mtl_jax.models.response_norm import (
    MAX_PADDING,
    Lrn,
    Normalization,
    local_response_normalization,
)
from mtl_jax.types import Params

__all__ = [
    "BACKBONE",
    "CONVOLUTIONS",
    "DROPOUT_LAYERS",
    "FULLY_CONNECTED",
    "LAYERS",
    "AlexNet",
    "forward",
    "init",
    "local_response_normalization",
]


class Geometry(NamedTuple):
    """Shape of a convolution layer, in pixels and channels."""

    features: int
    size: int
    stride: int
    pad: int
    pool: bool  # 3x3 max pooling of stride 2


CONVOLUTIONS = {
    "C1": Geometry(64, 11, 4, 2, True),
    "C2": Geometry(192, 5, 1, 2, True),
    "C3": Geometry(384, 3, 1, 1, False),
    "C4": Geometry(256, 3, 1, 1, False),
    "C5": Geometry(256, 3, 1, 1, True),
}


class Layer(Convolution):
    """A convolution, rectifier, optional local response normalization and optional pooling."""

    lrn: Normalization | None = None
    pool: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = super().__call__(x)
        if self.lrn:
            x = x if self.lrn.before_rectifier else nn.relu(x)
            x = local_response_normalization(x, self.lrn)
        # The rectifier commutes with max pooling and has a quarter of the values after it.
        return nn.relu(max_pool(x) if self.pool else x)


class AlexNet(Network):
    """AlexNet on 128x128 input: feature maps of 31, 15, 7 and 3 pixels.

    `lrn` is that of the pretrained weights (`response_norm`); torchvision's weights have none.
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

    def convolution_chain(self) -> tuple[ConvSpec, ...]:
        lrn = response_norm.layer_settings(self.lrn)
        return tuple(
            ConvSpec(name, conv.stride, conv_padding(name, self.lrn), lrn.get(name), 3 * conv.pool)
            for name, conv in CONVOLUTIONS.items()
        )


def conv_padding(name: str, lrn: Lrn) -> tuple[int, int]:
    """Return the zero padding before and after the rows and columns of convolution `name`."""
    layer, settings = CONVOLUTIONS[name], response_norm.layer_settings(lrn).get(name)
    if name == "C1" and settings:
        # Pad the end so that 128 pixels always give a map of 31.
        return settings.padding, MAX_PADDING - settings.padding
    return layer.pad, layer.pad


def forward(
    params: Params,
    x: jax.Array,
    first: str = "C1",
    last: str = "F5",
    lrn: Lrn = False,
    precision: str = FLOAT32,
) -> jax.Array:
    """Apply layers `first` to `last` of AlexNet, without dropout.

    Parameters
    ----------
    params : mapping
        {'C1': {'kernel', 'bias'}, ..., 'F5': {'kernel', 'bias'}}; kernels of convolutions are HWIO,
        those of fully connected layers (in, out). Only the applied layers are needed.
    x : array, NHWC float32
        Images (n, 128, 128, 3 or 1), or the output of the layer before `first`.
    first, last : str
        Names of layers, both included.
    lrn : bool or tuple of Normalization
        Local response normalization; see `models.response_norm`.
    precision : str
        Precision of products and convolutions; see `models.precision`.

    Returns
    -------
    array
        Output of `last` after rectifier and pooling; for F5 the logits (n, outputs).
    """
    outputs = params["F5"]["kernel"].shape[-1] if last == "F5" else 2
    network = AlexNet(outputs, lrn=lrn)
    return network.apply({"params": params}, jnp.asarray(x), first, last, precision=precision)


LAYERS = AlexNet().layers
BACKBONE = Backbone(
    network=AlexNet,
    title="AlexNet",
    citation="Krizhevsky 2014, arXiv:1404.5997",
    source="torchvision's alexnet",
    key_maps=(
        KeyMap(
            "torchvision",
            layer_keys(
                {
                    "C1": "features.0",
                    "C2": "features.3",
                    "C3": "features.6",
                    "C4": "features.8",
                    "C5": "features.10",
                    "F1": "classifier.1",
                    "F2": "classifier.4",
                    "F3": "classifier.6",
                }
            ),
        ),
        KeyMap(
            "conv1..conv5",
            layer_keys(
                {name: f"conv{name[1]}" for name in CONVOLUTIONS}
                | {name: f"fc{name[1]}" for name in ("F1", "F2", "F3")},
                kernel="kernel",
            ),
            torch_axes=False,
        ),
    ),
    summary="AlexNet with five convolutional and five fully connected layers",
    layers="AlexNet with five convolutional layers (C) with ReLU, three of them with 3 × 3 max "
    "pooling of stride 2, and five fully connected layers (F)",
)
