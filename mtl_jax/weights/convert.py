"""From a checkpoint file of another framework to parameters and their card.

The format is told by content, not by the file's name. It writes nothing: `folder` does.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from mtl_jax.nouns import InputError
from mtl_jax.weights.caffe_file import read_caffe_npy
from mtl_jax.weights.card import CONVNET_INPUT, IMAGENET_INPUT, Weights, make_card
from mtl_jax.weights.convnet_file import read_convnet
from mtl_jax.weights.keras_file import WEIGHTS, read_keras_h5, read_keras_zip
from mtl_jax.weights.npz_file import read_npz
from mtl_jax.weights.onnx_file import read_onnx
from mtl_jax.weights.rename import rename
from mtl_jax.weights.safetensors_file import read_safetensors
from mtl_jax.weights.torch_file import read_torch_legacy, read_torch_zip

CONVNET = "cuda-convnet2"
TORCH_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9"  # the first pickle of a legacy file
READERS = {
    "torch zip": read_torch_zip,
    "torch legacy": read_torch_legacy,
    "safetensors": read_safetensors,
    "npz": read_npz,
    "onnx": read_onnx,
    "keras h5": read_keras_h5,
    "keras zip": read_keras_zip,
    "caffe npy": read_caffe_npy,
    CONVNET: read_convnet,
}
TRUNKS = {
    "alexnet": "AlexNet trained on ImageNet (Krizhevsky 2014, arXiv:1404.5997",
    "vgg16": "VGG16 trained on ImageNet (Simonyan and Zisserman 2015, arXiv:1409.1556",
    "resnet18": "ResNet-18 trained on ImageNet (He et al. 2016, arXiv:1512.03385",
}
NOTE = (
    ", in torchvision's form); the input normalization is that of torchvision. Read the source's "
    "licence before passing the weights on."
)
CONVNET_NOTE = (
    "AlexNet trained with cuda-convnet2. C1's kernels are the source's times 57.6, for input of "
    "standard deviation 1. There C1 is normalized before its rectifier, here behind it."
)


def convert(path: Path | str, fc: str = "drop") -> Weights:
    """Weights of AlexNet from a file of PyTorch, safetensors, NumPy, ONNX, Keras, Caffe (as `.npy`)
    or cuda-convnet2, of VGG16 or ResNet-18 from one of the first three; the names in the file tell
    which. checkpoints/README.md describes each.

    `fc`: 'drop' gives C1..C5 only, since the paper starts every fully connected layer at random
    (Samala 2017, sec. 2.2); 'keep' also gives those that fit a 128-pixel input. No code in the
    file is ever run. InputError, one line, for anything that does not fit.
    """
    if fc not in ("drop", "keep"):
        raise InputError(f"fc: {fc!r} is not one of drop, keep")
    path = Path(path)
    try:
        kind = file_format(path)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        arrays: dict[str, np.ndarray] = READERS[kind](path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    params, scheme, left_out = rename(arrays, fc == "keep", path)
    card = make_card(
        params,
        trunk=scheme.trunk,
        name=path.stem,
        source=path.name,
        sha256=sha256,
        file_format=f"{kind}, {scheme.name} names",
        input_stats=CONVNET_INPUT if kind == CONVNET else IMAGENET_INPUT,
        lrn=kind == CONVNET,
        note=CONVNET_NOTE if kind == CONVNET else TRUNKS[scheme.trunk] + NOTE,
        left_out=left_out,
    )
    return Weights(params, card)


def file_format(path: Path) -> str:
    """The key of READERS that the first bytes, or the names inside a zip archive, stand for."""
    with path.open("rb") as stream:
        start = stream.read(16)
    if start[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise InputError(f"{path}: damaged or truncated archive; get it again") from error
        if any(name.split("/")[-1] == "data.pkl" for name in names):
            return "torch zip"
        if WEIGHTS in names:
            return "keras zip"
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
    elif start[:1] == b"\x80":
        return "torch legacy" if TORCH_MAGIC in start else CONVNET
    elif start[8:9] == b"{":
        return "safetensors"
    elif start[:8] == b"\x89HDF\r\n\x1a\n":
        return "keras h5"
    elif start[:6] == b"\x93NUMPY":
        return "caffe npy"
    elif start[:1] == b"\x08" and b"\x00" < start[1:2] < b"\x20":  # the version of an ONNX file
        return "onnx"
    raise InputError(f"{path}: not a weights file (by content none of {', '.join(READERS)})")
