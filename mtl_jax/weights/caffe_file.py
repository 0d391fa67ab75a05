"""Reads a `.npy` that holds a dictionary of layers, as Caffe's bvlc_alexnet.npy does: no code run.

It knows no shapes: `table` does.
"""

import mmap
from pathlib import Path
from tokenize import TokenError

import numpy as np

from mtl_jax.nouns import InputError
from mtl_jax.weights.numpy_pickle import plain, vocabulary
from mtl_jax.weights.restricted_pickle import Refused, read_pickle

LEAVES = {"weights": "kernel", "biases": "bias", "kernel": "kernel", "bias": "bias"}


def read_caffe_npy(path: Path) -> dict[str, np.ndarray]:
    """Arrays 'conv1/kernel' (row, column, in, out), 'conv1/bias' ... from {'conv1': [kernel, bias]}
    or {'conv1': {'weights': kernel, 'biases': bias}}.

    Caffe's own AlexNet has two groups of kernels in conv2, conv4 and conv5, and is refused for it.
    Fully connected layers (fc6 ...) are left out: they take the map of a larger image.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
            if not dtype.hasobject or shape != ():
                raise InputError(f"{path}: a lone array and no dictionary of layers; refused")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
                stream.seek(file.tell())
                layers = plain(read_pickle(stream, vocabulary()))
    except Refused as error:
        raise InputError(f"{path}: asks for {error}; refused, nothing was run") from error
    except (ValueError, KeyError, SyntaxError, TokenError, EOFError, MemoryError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else "ends too early"
        raise InputError(f"{path}: damaged .npy file ({reason}); get it again") from error
    if isinstance(layers, list) and len(layers) == 1:
        layers = layers[0]
    if not isinstance(layers, dict):
        raise InputError(f"{path}: holds no dictionary of layers; refused")
    arrays = {}
    for name, layer in layers.items():
        if isinstance(layer, list) and len(layer) == 2:
            layer = dict(zip(("kernel", "bias"), layer, strict=True))
        if not isinstance(name, str) or not isinstance(layer, dict):
            raise InputError(f"{path}: layer {name!a:.60} is no pair of kernel and bias; refused")
        for leaf, array in layer.items():
            if leaf not in LEAVES or not isinstance(array, np.ndarray):
                raise InputError(f"{path}: {name!a:.60} holds {leaf!a:.60}, no array; refused")
            arrays[f"{name}/{LEAVES[leaf]}"] = array
    first, second = (arrays.get(f"{name}/kernel", np.zeros(0)) for name in ("conv1", "conv2"))
    if first.ndim == second.ndim == 4 and 2 * second.shape[2] == first.shape[3]:
        raise InputError(
            f"{path}: conv2 has 2 groups of kernels, each of which sees half of the maps (Caffe's "
            "AlexNet); the network here has one group: give a one-tower AlexNet, such as "
            "torchvision's"
        )
    return {name: array for name, array in arrays.items() if not name.startswith("fc")}
