"""Look up the backbones of `config.BACKBONES`, each defined by one module."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.config import BACKBONES
from mtl_jax.models import response_norm
from mtl_jax.models.backbone import Backbone
from mtl_jax.models.base import Network
from mtl_jax.types import InputError


def get(name: str) -> Backbone:
    """Return the backbone of this name; InputError if it is not registered."""
    if name not in BACKBONES:
        raise InputError(f"backbone {name!r} is unknown: expected one of {', '.join(BACKBONES)}")
    return importlib.import_module(BACKBONES[name]).BACKBONE


def build(
    backbone: str, outputs: int = 2, lrn: bool | Mapping[str, Any] = False, dropout: float = 0.0
) -> Network:
    """Return the network of a backbone with `outputs` nodes in F5, two for each task.

    `lrn` is AlexNet's local response normalization as in the metadata of its weights: False, or the
    settings by layer; True stands for the settings of the paper.
    """
    lrn_field = {"lrn": response_norm.from_json(lrn)} if lrn else {}
    return get(backbone).network(outputs=outputs, dropout=dropout, **lrn_field)


def reject_depth(backbone: str, frozen: Sequence[str]) -> None:
    """Raise InputError if the backbone has fewer stages than the `frozen` layers."""
    stages = get(backbone).network.stages
    if len(frozen) > len(stages):
        raise InputError(
            f"config.network: {frozen[-1]} is invalid: {backbone} has the stages {stages[0]} to "
            f"{stages[-1]}"
        )
