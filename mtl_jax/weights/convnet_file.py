"""Reads a checkpoint of cuda-convnet2, the paper's software: a pickle of Python 2, no code run.

Its options, objects of classes of its own, are passed over. It knows no shapes: `table` does.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.nouns import InputError
from mtl_jax.weights.numpy_pickle import plain, vocabulary
from mtl_jax.weights.restricted_pickle import Refused, read_pickle

OPTIONS = ("options", "data", "convdata", "python_util")  # its modules
# Gray levels that are one standard deviation of ImageNet's pixels, about: 255 times 0.226.
GRAY_PER_UNIT = np.float32(57.6)


def read_convnet(path: Path) -> dict[str, np.ndarray]:
    """Arrays 'conv1/kernel' (row, column, in, out), 'conv1/bias' ... of its convolutions.

    A layer's weights are (in x row x column, out) there. Its images are 0 to 255 less their mean;
    the kernels of the first layer are taken times 57.6, so that they expect images of standard
    deviation 1, as all of this package's do. Fully connected layers are left out.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
        ):
            read = plain(read_pickle(stream, vocabulary(OPTIONS)))
        layers = read["model_state"]["layers"]
        layers = layers.values() if isinstance(layers, dict) else layers
        layers = list(layers)
        normalized = [layer["type"] for layer in layers].count("cmrnorm")
        arrays = {}
        for layer in layers:
            if layer["type"] == "conv":
                arrays |= _arrays(layer, path)
    except Refused as error:
        raise InputError(f"{path}: asks for {error}; refused, nothing was run") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, MemoryError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else "ends too early"
        raise InputError(f"{path}: no or a damaged cuda-convnet2 checkpoint ({reason})") from error
    if normalized != 2:
        raise InputError(
            f"{path}: {normalized} layers of local response normalization (cmrnorm); the network "
            "here has them behind C1 and C2"
        )
    return arrays


def _arrays(layer: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    name = layer["name"]
    (kernel,), bias = layer["weights"], layer["biases"]
    groups, channels, size = (_first(layer[key]) for key in ("groups", "channels", "filterSize"))
    if groups != 1:
        raise InputError(
            f"{path}: {name!a:.40} has {groups} groups of kernels, each of which sees a part of "
            "the maps; the network here has one group: give a one-tower AlexNet"
        )
    kernel = kernel.reshape(channels, size, size, -1).transpose(1, 2, 0, 3)
    if name == "conv1":
        kernel = kernel * GRAY_PER_UNIT
    return {f"{name}/kernel": kernel, f"{name}/bias": bias.reshape(-1)}


def _first(value: Any) -> int:
    return int(value[0] if isinstance(value, list) else value)
