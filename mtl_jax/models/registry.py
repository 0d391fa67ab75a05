"""The networks by the names that config.model.backbone has."""

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
    """Return the network of this backbone; `lrn`, AlexNet's local response normalization, as the
    card of its weights holds it: false, or the settings of each layer; true stands for the
    paper's."""
    own = {"lrn": response_norm.from_json(lrn)} if lrn else {}
    return BACKBONES[backbone](outputs=outputs, dropout=dropout, **own)
