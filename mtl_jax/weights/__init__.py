"""Read pretrained weights of other frameworks, convert them, and keep them in a folder.

No code in a source file is ever executed.
"""

from mtl_jax.weights.convert import convert
from mtl_jax.weights.find_weights import (
    find,
    find_for_backbone,
    find_for_plan,
    get_imagenet_folder,
    require_photographs,
)
from mtl_jax.weights.folder import load, save
from mtl_jax.weights.gabor import make_analytic, make_gabor_bank
from mtl_jax.weights.metadata import Weights, make_metadata, round_to_half

__all__ = [
    "Weights",
    "convert",
    "find",
    "find_for_backbone",
    "find_for_plan",
    "get_imagenet_folder",
    "load",
    "make_analytic",
    "make_gabor_bank",
    "make_metadata",
    "require_photographs",
    "round_to_half",
    "save",
]
