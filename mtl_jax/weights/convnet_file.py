"""Read a checkpoint of cuda-convnet2, the software of the paper.

It is a pickle of Python 2. No code in it is executed, and its options, objects of its own classes,
are skipped.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.types import InputError
from mtl_jax.weights.convnet_layers import NAMES, UnsupportedNetwork, check_layers
from mtl_jax.weights.numpy_pickle import make_vocabulary, to_plain
from mtl_jax.weights.restricted_pickle import Rejected, read_pickle
from mtl_jax.weights.source import Source

DAMAGE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, MemoryError, RecursionError)
OPTION_MODULES = ("options", "data", "convdata", "python_util")  # of cuda-convnet2
# Approximate standard deviation of ImageNet pixels in gray levels: 255 times 0.226.
GRAY_PER_UNIT = np.float32(57.6)


def read_convnet(path: Path) -> Source:
    """Return the convolutions 'conv1/kernel' (HWIO), 'conv1/bias' ... and the LRN settings.

    The network was trained on images of 0 to 255 minus their mean; the kernels of the first layer
    are multiplied by 57.6 so that they expect images of standard deviation 1. Fully connected
    layers are left out.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
        ):
            content = to_plain(read_pickle(stream, make_vocabulary(OPTION_MODULES)))
        layers = content["model_state"]["layers"]
        layers = list(layers.values() if isinstance(layers, dict) else layers)
        lrn, notes = check_layers(layers)
        arrays = {}
        for layer in layers:
            if layer["name"] in NAMES:
                arrays |= _arrays(layer)
    except UnsupportedNetwork as error:
        raise InputError(
            f"{path}: {error}; convert a network of the one-GPU definition of cuda-convnet2"
        ) from error
    except Rejected as error:
        raise InputError(f"{path}: requests {error}; rejected, no code was executed") from error
    except DAMAGE_ERRORS as error:
        reason = str(error).splitlines()[0][:80] if str(error) else "ends too early"
        raise InputError(
            f"{path}: damaged cuda-convnet2 checkpoint, or another pickle ({reason})"
        ) from error
    return Source(arrays, notes, lrn)


def _arrays(layer: dict[str, Any]) -> dict[str, np.ndarray]:
    name, (kernel,), bias = layer["name"], layer["weights"], layer["biases"]
    channels, size = (
        int(value[0] if isinstance(value, list) else value)
        for value in (layer["channels"], layer["filterSize"])
    )
    kernel = kernel.reshape(channels, size, size, -1).transpose(1, 2, 0, 3)
    if name == NAMES[0]:
        kernel = kernel * GRAY_PER_UNIT
    return {f"{name}/kernel": kernel, f"{name}/bias": bias.reshape(-1)}
