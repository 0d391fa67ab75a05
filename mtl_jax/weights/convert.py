"""From a checkpoint file of another framework to parameters and their card.

The format is detected from the content, not from the file name.
"""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from mtl_jax.types import InputError, Params
from mtl_jax.weights.convnet_file import read_convnet
from mtl_jax.weights.map_keys import rename
from mtl_jax.weights.metadata import CONVNET_INPUT, IMAGENET_INPUT, Weights, make_metadata
from mtl_jax.weights.npz_file import read_npz
from mtl_jax.weights.safetensors_file import read_safetensors
from mtl_jax.weights.source import Source
from mtl_jax.weights.torch_file import read_torch_legacy, read_torch_zip

CONVNET = "cuda-convnet2"
TORCH_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9"  # the first pickle of a legacy file
READERS: dict[str, Callable[[Path], Source]] = {
    "torch zip": read_torch_zip,
    "torch legacy": read_torch_legacy,
    "safetensors": read_safetensors,
    "npz": read_npz,
    CONVNET: read_convnet,
}
# What other files begin with. Layers beside the convolutions, and what images the first one
# expects, are stated nowhere in some of them, and differently in each.
OTHERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes",
    b"\x93NUMPY": "a single array, or Caffe's layers",
    b"\x08": "an ONNX graph",
    b"\x0a": "a Caffe or TensorFlow model",
}
CURE = (
    "give a state dict of PyTorch (torch.save(model.state_dict(), FILE)), .safetensors, NumPy's "
    ".npz with conv1/kernel to conv5/bias, or a checkpoint of cuda-convnet2"
)
MIN_NORM = 0.05  # of the first kernels; pretrained networks have 1 to 4, random ones 0.05 to 1.4
BACKBONES = {
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
    "standard deviation 1."
)


def convert(path: Path | str, fc: str = "drop") -> Weights:
    """Weights of AlexNet from a file of PyTorch, safetensors, NumPy or cuda-convnet2, of VGG16 or
    ResNet-18 from one of the first three; the names in the file tell which. checkpoints/README.md
    describes each.

    `fc`: 'drop' gives C1..C5 only, since the paper starts every fully connected layer at random
    (Samala 2017, sec. 2.2); 'keep' also gives those that fit a 128-pixel input. No code in the
    file is ever run. InputError, one line, for anything that does not fit: the network here is that
    of the file, or there is none.
    """
    if fc not in ("drop", "keep"):
        raise InputError(f"fc: {fc!r} is not one of drop, keep")
    path = Path(path)
    try:
        kind = file_format(path)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        source = READERS[kind](path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    params, scheme, left_out = rename(source.arrays, fc == "keep", path)
    _reject_small(params, path)
    card = make_metadata(
        params,
        backbone=scheme.backbone,
        name=path.stem,
        source=path.name,
        sha256=sha256,
        file_format=f"{kind}, {scheme.name} names",
        input_stats=CONVNET_INPUT if kind == CONVNET else IMAGENET_INPUT,
        lrn=source.lrn,
        note=CONVNET_NOTE if kind == CONVNET else BACKBONES[scheme.backbone] + NOTE,
        left_out=(*source.left_out, *left_out),
    )
    return Weights(params, card)


def file_format(path: Path) -> str:
    """Return the key of READERS that the first bytes, or the names inside a zip archive, stand
    for."""
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
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
        what = "an archive of Keras" if any(n.endswith(".h5") for n in names) else "another archive"
        raise InputError(f"{path}: {what}, which is not read; {CURE}")
    if start[:1] == b"\x80":
        return "torch legacy" if TORCH_MAGIC in start else CONVNET
    if start[8:9] == b"{":
        return "safetensors"
    what = next((kind for begin, kind in OTHERS.items() if start.startswith(begin)), "")
    what = f"{what}, which is not read" if what else "not a weights file that is read here"
    raise InputError(f"{path}: {what}; {CURE}")


def _reject_small(params: Params, path: Path) -> None:
    """Raise InputError where the first kernels are far too small for images of standard deviation
    1, beside their biases: as those of networks on gray levels of 0 to 255 can be."""
    first = next(
        array for name, array in flatten_dict(params, sep="/").items() if name.endswith("kernel")
    )
    norm = float(np.median(np.sqrt((np.float64(first) ** 2).sum((0, 1, 2)))))
    if norm < MIN_NORM:
        raise InputError(
            f"{path}: the kernels of C1 have a norm of {norm:.2g}, where those for images of "
            "standard deviation 1 have about 1: they expect gray levels of 0 to 255, or are not "
            "trained; multiply them by 57.6 (255 times 0.226) where the images were less their "
            "mean, and give that"
        )
