"""AlexNet with few fully connected nodes, which takes the pretrained weights of AlexNet.

    with small_head.as_alexnet(): ...

A checkpoint has 10 MB instead of 230.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax

from kit.small_network import NODES
from mtl_jax import config
from mtl_jax.experiments.compute_cost import layer_operations
from mtl_jax.models import alexnet, base


class SmallHead(alexnet.AlexNet):
    """AlexNet with fully connected layers of NODES."""

    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        with mock.patch.dict(base.FULLY_CONNECTED, NODES):
            return super().__call__(*args, **kwargs)


BACKBONE = dataclasses.replace(alexnet.BACKBONE, network=SmallHead)


@contextmanager
def as_alexnet() -> Iterator[None]:
    """Let jobs of this process train this network as the backbone `alexnet`."""
    with mock.patch.dict(config.BACKBONES, {config.ALEXNET: __name__}):
        layer_operations.cache_clear()
        yield
    layer_operations.cache_clear()
