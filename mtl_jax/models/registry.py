"""Registry of the networks by the names in config.model.backbone."""

from collections.abc import Mapping
from typing import Any

from mtl_jax.models import response_norm
from mtl_jax.models.alexnet import AlexNet
from mtl_jax.models.base import Network
from mtl_jax.models.resnet import ResNet18
from mtl_jax.models.vgg import VGG16

BACKBONES: dict[str, type[Network]] = {"alexnet": AlexNet, "vgg16": VGG16, "resnet18": ResNet18}


def build(
    backbone: str, outputs: int = 2, lrn: bool | Mapping[str, Any] = False, dropout: float = 0.0
) -> Network:
    """Return the network of a backbone with `outputs` nodes in F5, two for each task.

    `lrn` is AlexNet's local response normalization as in the metadata of its weights: False, or the
    settings by layer; True stands for the settings of the paper.
    """
    lrn_field = {"lrn": response_norm.from_json(lrn)} if lrn else {}
    return BACKBONES[backbone](outputs=outputs, dropout=dropout, **lrn_field)
