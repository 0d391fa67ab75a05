"""AlexNet with few feature maps and nodes, for tests in which the width of the layers is no matter.

The layers have the names, kernel sizes and strides of AlexNet's. A checkpoint has half a megabyte
instead of 230, and a step takes milliseconds. `small_head.py` keeps AlexNet's convolutions, so that
pretrained weights fit.
"""

import dataclasses
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import jax

from kit import backbones
from mtl_jax.models import alexnet, base

MAPS = {
    name: layer._replace(features=layer.features // 16)
    for name, layer in alexnet.CONVOLUTIONS.items()
}
NODES = {"F1": 64, "F2": 64, "F3": 32, "F4": 100}


class SmallAlexNet(alexnet.AlexNet):
    """AlexNet with the widths MAPS and NODES."""

    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        with (
            mock.patch.dict(alexnet.CONVOLUTIONS, MAPS),
            mock.patch.dict(base.FULLY_CONNECTED, NODES),
        ):
            return super().__call__(*args, **kwargs)


BACKBONE = dataclasses.replace(alexnet.BACKBONE, network=SmallAlexNet)


def as_alexnet() -> AbstractContextManager[None]:
    """Let jobs of this process train this network as the backbone `alexnet`."""
    return backbones.replaced(alexnet=__name__)
