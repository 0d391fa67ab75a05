"""Describe a backbone as a chain of convolutions with their normalization and pooling."""

from typing import NamedTuple

from mtl_jax.models.alexnet import CONVOLUTIONS, AlexNet, conv_padding
from mtl_jax.models.base import Network
from mtl_jax.models.response_norm import Normalization, layer_settings
from mtl_jax.models.vgg import BLOCKS, VGG16


class ConvSpec(NamedTuple):
    """One convolution of a chain."""

    path: str  # of its parameters, 'C1' or 'C1/conv2'
    stride: int
    pad: tuple[int, int]  # zeros before and after the rows and columns of its input
    lrn: Normalization | None
    pool: int  # window of the max pooling of stride 2 after it; 0 for none

    @property
    def layer(self) -> str:
        return self.path.split("/")[0]


def convolution_chain(network: Network) -> tuple[ConvSpec, ...]:
    """Return the convolutions of `network` in order; () for a network with skip connections."""
    if isinstance(network, AlexNet):
        lrn = layer_settings(network.lrn)
        return tuple(
            ConvSpec(
                name, conv.stride, conv_padding(name, network.lrn), lrn.get(name), 3 * conv.pool
            )
            for name, conv in CONVOLUTIONS.items()
        )
    if isinstance(network, VGG16):
        return tuple(
            ConvSpec(f"{block}/conv{k}", 1, (1, 1), None, 2 * (k == count))
            for block, (count, _) in BLOCKS.items()
            for k in range(1, count + 1)
        )
    return ()
