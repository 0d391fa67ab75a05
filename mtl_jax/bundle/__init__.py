"""Export a trained network as a model bundle, and score images with it."""

from mtl_jax.bundle.folder import load, save
from mtl_jax.bundle.model import Model, Reference

__all__ = ["Model", "Reference", "load", "save"]
