"""A trained network as a folder that can be handed on, and all that is asked of it afterwards."""

from mtl_jax.bundle.folder import load, save
from mtl_jax.bundle.model import Model, Reference

__all__ = ["Model", "Reference", "load", "save"]
