"""The description of a backbone: what the rest of the package needs to know beside its network."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mtl_jax.models.base import Network


@dataclass(frozen=True)
class KeyMap:
    """The names that one kind of source checkpoint has for the arrays of a backbone.

    `keys` maps the path of each array here ('C2/block1/conv1/kernel') to its name in the source.
    With `torch_axes`, kernels of the source are (out, in, row, column) and (out, in). `norms` maps
    the path of a convolution to the name of the batch normalization after it, which is folded.
    `dropped` are layers of the source that the network does not have, and `defaults` the values of
    arrays of which a source has all or none.
    """

    name: str
    keys: Mapping[str, str]
    torch_axes: bool = True
    norms: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    epsilon: float = 1e-5  # of the batch normalizations; this is PyTorch's default


@dataclass(frozen=True)
class Backbone:
    """A backbone of `config.BACKBONES`, defined by its module as `BACKBONE`."""

    network: type[Network]
    title: str  # 'ResNet-18'
    citation: str  # of the architecture
    source: str  # of pretrained weights, such as "torchvision's resnet18"
    key_maps: tuple[KeyMap, ...]
    summary: str  # completes 'The network was'; ends with '... and five fully connected layers'
    layers: str  # explains the table of layers in the report
    no_maps: str = ""  # why there are no deconvolution maps; '' for a chain of convolutions

    def describe(self) -> dict[str, str | int | None]:
        """Return the texts for results.json, which the report reads."""
        return {
            "name": self.title,
            "network": self.summary,
            "layers": self.layers,
            "no_maps": self.no_maps,
            "source": self.source,
            "input_size": self.network.input_size,
        }


def layer_keys(layers: Mapping[str, str], kernel: str = "weight") -> dict[str, str]:
    """Return the names of kernel and bias for layers by path, {'C1': 'features.0'}.

    They are {'C1/kernel': 'features.0.weight', 'C1/bias': 'features.0.bias'}; `kernel` is the
    source's word for a kernel.
    """
    return {
        f"{path}/{leaf}": f"{name}.{word}"
        for path, name in layers.items()
        for leaf, word in (("kernel", kernel), ("bias", "bias"))
    }
