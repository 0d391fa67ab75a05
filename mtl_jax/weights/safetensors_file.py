"""Reads a `.safetensors` file into NumPy arrays."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from mtl_jax.types import InputError
from mtl_jax.weights.source import Source


def read_safetensors(path: Path) -> Source:
    """Return all arrays of the file; InputError where it is damaged or holds types NumPy lacks."""
    try:
        return Source(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: damaged .safetensors file, or of a type that NumPy lacks; get it again, or "
            "save it as float32"
        ) from error
