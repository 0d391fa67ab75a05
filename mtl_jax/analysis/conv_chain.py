"""A backbone as a chain of convolutions, each with what stands behind it."""

from typing import NamedTuple

from mtl_jax.models.alexnet import CONVOLUTIONS, AlexNet, conv_padding
from mtl_jax.models.base import Network
from mtl_jax.models.response_norm import Normalization, layer_settings
from mtl_jax.models.vgg import BLOCKS, VGG16


class ConvSpec(NamedTuple):
    """One convolution: the path of its parameters, 'C1' or 'C1/conv2', its stride, the zeros before
    and behind its input's rows and columns, its local response normalization where it has one, and
    the window of the maximum pool of stride 2 behind that, 0 for none."""

    path: str
    stride: int
    pad: tuple[int, int]
    lrn: Normalization | None
    pool: int

    @property
    def layer(self) -> str:
        return self.path.split("/")[0]


def convolution_chain(network: Network) -> tuple[ConvSpec, ...]:
    """Return the convolutions of `network` in order; () where it is no chain, as a network of
    sums."""
    if isinstance(network, AlexNet):
        lrn = layer_settings(network.lrn)
        return tuple(
            ConvSpec(name, own.stride, conv_padding(name, network.lrn), lrn.get(name), 3 * own.pool)
            for name, own in CONVOLUTIONS.items()
        )
    if isinstance(network, VGG16):
        return tuple(
            ConvSpec(f"{block}/conv{k}", 1, (1, 1), None, 2 * (k == count))
            for block, (count, _) in BLOCKS.items()
            for k in range(1, count + 1)
        )
    return ()
