"""Weights from elsewhere: converted by a declarative table, kept in a folder, or analytic.

Reads source checkpoints without running any code in them.
"""

from mtl_jax.weights.convert import convert
from mtl_jax.weights.find_weights import (
    find,
    find_of,
    imagenet_folder,
    planned,
    require_photographs,
)
from mtl_jax.weights.folder import load, save
from mtl_jax.weights.gabor import analytic, gabor_bank
from mtl_jax.weights.metadata import Weights, halved, make_card

__all__ = [
    "Weights",
    "analytic",
    "convert",
    "find",
    "find_of",
    "gabor_bank",
    "halved",
    "imagenet_folder",
    "load",
    "make_card",
    "planned",
    "require_photographs",
    "save",
]
