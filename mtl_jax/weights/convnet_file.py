"""Reads a checkpoint of cuda-convnet2, the paper's software: a pickle of Python 2, no code run.

Its options, objects of classes of its own, are passed over.
"""

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.types import InputError
from mtl_jax.weights.convnet_layers import NAMES, Differs, check
from mtl_jax.weights.numpy_pickle import plain, vocabulary
from mtl_jax.weights.restricted_pickle import Rejected, read_pickle
from mtl_jax.weights.source import Source

OPTIONS = ("options", "data", "convdata", "python_util")  # its modules
# Gray levels that are one standard deviation of ImageNet's pixels, about: 255 times 0.226.
GRAY_PER_UNIT = np.float32(57.6)


def read_convnet(path: Path) -> Source:
    """Arrays 'conv1/kernel' (row, column, in, out), 'conv1/bias' ... of its convolutions, and the
    settings of its response normalization.

    A layer's weights are (in x row x column, out) there. Its images are 0 to 255 less their mean;
    the kernels of the first layer are taken times 57.6, so that they expect images of standard
    deviation 1, as all of this package's do. Fully connected layers are left out. InputError where
    the network is not the one here.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
        ):
            content = plain(read_pickle(stream, vocabulary(OPTIONS)))
        layers = content["model_state"]["layers"]
        layers = list(layers.values() if isinstance(layers, dict) else layers)
        lrn, notes = check(layers)
        arrays = {}
        for layer in layers:
            if layer["name"] in NAMES:
                arrays |= _arrays(layer)
    except Differs as error:
        raise InputError(f"{path}: {error}; convert a network of its one-GPU definition") from error
    except Rejected as error:
        raise InputError(f"{path}: asks for {error}; rejected, nothing was run") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        MemoryError,
        RecursionError,
    ) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else "ends too early"
        raise InputError(f"{path}: no or a damaged cuda-convnet2 checkpoint ({reason})") from error
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
