"""Convert a checkpoint file of another framework to parameters and their metadata.

The format is recognized by the content of the file, not by its name.
"""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from mtl_jax.models import registry
from mtl_jax.types import InputError, Params
from mtl_jax.weights.convnet_file import read_convnet
from mtl_jax.weights.map_keys import map_keys
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
# First bytes of formats that are not supported: they do not state, or each in another way, the
# layers beside the convolutions and the images that the first layer expects.
UNSUPPORTED = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes",
    b"\x93NUMPY": "a single array, or Caffe layers",
    b"\x08": "an ONNX graph",
    b"\x0a": "a Caffe or TensorFlow model",
}
CURE = (
    "give a state dict of PyTorch (torch.save(model.state_dict(), FILE)), .safetensors, NumPy's "
    ".npz with conv1/kernel to conv5/bias, or a checkpoint of cuda-convnet2"
)
# Norm of the kernels of C1: 1 to 4 in pretrained networks, 0.05 to 1.4 in random ones.
MIN_NORM = 0.05
NOTE = (
    "{title} trained on ImageNet ({citation}, in the form of {source}); the input normalization is "
    "assumed to be that of torchvision. Read the licence of the source before you distribute the "
    "weights."
)
CONVNET_NOTE = (
    "AlexNet trained with cuda-convnet2. The kernels of C1 are those of the source times 57.6, for "
    "input of standard deviation 1."
)


def convert(path: Path | str, fc: str = "drop") -> Weights:
    """Return the weights in a checkpoint file of another framework.

    The names in the file decide which backbone it holds; files of cuda-convnet2 hold AlexNet. See
    checkpoints/README.md. No code in the file is executed.

    Parameters
    ----------
    path : path
        Checkpoint file.
    fc : {'drop', 'keep'}
        'drop' returns C1 to C5 only, because the paper initializes all fully connected layers at
        random (Samala et al. 2017, section 2.2). 'keep' also returns those that fit 128-pixel
        input.

    Returns
    -------
    Weights

    Raises
    ------
    InputError
        If the file cannot be read, or its network is not exactly one that this package computes.
    """
    if fc not in ("drop", "keep"):
        raise InputError(f"fc={fc!r} is invalid: expected drop or keep")
    path = Path(path)
    try:
        format_name = detect_format(path)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        source = READERS[format_name](path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    params, scheme, left_out = map_keys(source.arrays, fc == "keep", path)
    _reject_small_kernels(params, path)
    is_convnet = format_name == CONVNET
    backbone = registry.get(scheme.backbone)
    note = NOTE.format(title=backbone.title, citation=backbone.citation, source=backbone.source)
    metadata = make_metadata(
        params,
        backbone=scheme.backbone,
        name=path.stem,
        source=path.name,
        sha256=sha256,
        file_format=f"{format_name}, {scheme.key_map.name} names",
        input_stats=CONVNET_INPUT if is_convnet else IMAGENET_INPUT,
        lrn=source.lrn,
        note=CONVNET_NOTE if is_convnet else note,
        left_out=(*source.left_out, *left_out),
    )
    return Weights(params, metadata)


def detect_format(path: Path) -> str:
    """Return the key of READERS for a file, by its first bytes or the names in a zip archive.

    Raises InputError if the format is not supported.
    """
    with path.open("rb") as stream:
        start = stream.read(16)
    if start[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        # zipfile raises NotImplementedError for a damaged version number of an entry.
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise InputError(f"{path}: damaged or truncated archive; download it again") from error
        if any(name.split("/")[-1] == "data.pkl" for name in names):
            return "torch zip"
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
        kind = "a Keras archive" if any(n.endswith(".h5") for n in names) else "another archive"
        raise InputError(f"{path}: {kind}, which is not supported; {CURE}")
    # The length of the header comes first, and may begin like a pickle.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    if start[:1] == b"\x80":
        return "torch legacy" if TORCH_MAGIC in start else CONVNET
    kind = next((name for magic, name in UNSUPPORTED.items() if start.startswith(magic)), "")
    problem = f"{kind}, which is not supported" if kind else "not a weights file of a known format"
    raise InputError(f"{path}: {problem}; {CURE}")


def _reject_small_kernels(params: Params, path: Path) -> None:
    """Raise InputError if the kernels of C1 are too small for images of standard deviation 1.

    Networks trained on gray levels of 0 to 255 can have such kernels.
    """
    kernel = next(
        array for name, array in flatten_dict(params, sep="/").items() if name.endswith("kernel")
    )
    norm = float(np.median(np.sqrt((np.float64(kernel) ** 2).sum((0, 1, 2)))))
    if norm < MIN_NORM:
        raise InputError(
            f"{path}: the kernels of C1 have a norm of {norm:.2g}, expected about 1 for images of "
            "standard deviation 1; they expect gray levels of 0 to 255, or are not trained. If the "
            "network was trained on gray levels minus their mean, multiply them by 57.6 "
            "(255 times 0.226) and convert the result"
        )
