"""Reads a `.safetensors` file into NumPy arrays. It knows nothing of layers."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from mtl_jax.nouns import InputError


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file; InputError where it is damaged or holds types NumPy lacks."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged .safetensors file or a type NumPy lacks") from error
