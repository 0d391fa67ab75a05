"""AlexNet with few fully connected nodes, which takes the pretrained weights of AlexNet.

    with small_head.as_alexnet(): ...

A checkpoint has 10 MB instead of 230.
"""

import dataclasses
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import jax

from kit import backbones
from kit.small_network import NODES
from mtl_jax.models import alexnet, base


class SmallHead(alexnet.AlexNet):
    """AlexNet with fully connected layers of NODES."""

    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        with mock.patch.dict(base.FULLY_CONNECTED, NODES):
            return super().__call__(*args, **kwargs)


BACKBONE = dataclasses.replace(alexnet.BACKBONE, network=SmallHead)


def as_alexnet() -> AbstractContextManager[None]:
    """Let jobs of this process train this network as the backbone `alexnet`."""
    return backbones.replaced(alexnet=__name__)
