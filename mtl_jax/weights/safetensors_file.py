"""Read a `.safetensors` file into NumPy arrays."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from mtl_jax.types import InputError
from mtl_jax.weights.source import Source


def read_safetensors(path: Path) -> Source:
    """Return all arrays; raise InputError if the file is damaged or has types unknown to NumPy."""
    try:
        return Source(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: damaged .safetensors file, or a type that NumPy does not have; download it "
            "again, or save it as float32"
        ) from error
