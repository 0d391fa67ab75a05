"""Load the weights that `config.weights` names: shipped, ImageNet, Gabor, random, or a folder."""

import sysconfig
from pathlib import Path

from mtl_jax.config import ALEXNET, IMAGENET
from mtl_jax.models import registry
from mtl_jax.types import InputError
from mtl_jax.weights.folder import load
from mtl_jax.weights.gabor import make_analytic
from mtl_jax.weights.metadata import Weights, make_metadata


def find_shipped_folder() -> Path:
    """Return the folder of the shipped weights in the checkout, or where a wheel installs its data.

    That is for all users, for this user, or beside the packages (pip install --target).
    """
    root = Path(__file__).resolve().parents[2]
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    data_folders = [Path(sysconfig.get_path("data", scheme)) for scheme in schemes]
    parents = [root, *(folder / "share" / "mtl_jax" for folder in (*data_folders, root))]
    candidates = [parent / "checkpoints" / "formulas" for parent in parents]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])


SHIPPED = find_shipped_folder()
CHECKPOINTS = Path("checkpoints")  # in the current folder: converted weights are written here


def get_imagenet_folder(backbone: str = ALEXNET) -> Path:
    """Return the folder of converted ImageNet weights, which config.weights='imagenet' reads."""
    return CHECKPOINTS / f"{backbone}_{IMAGENET}"


def find(name: str, backbone: str = ALEXNET) -> Weights:
    """Return the weights that `config.weights` names; InputError if they do not exist.

    `name` is 'shipped' or 'analytic' (AlexNet only), 'random', 'imagenet' (the folder that
    tools/convert_weights.py writes for `backbone`) or the path of a folder. Other weights are never
    substituted.
    """
    if name == "random":
        return _untrained(backbone, "random", "Not pretrained: all layers are random.")
    if name == "analytic":
        return make_analytic()
    folder = get_imagenet_folder(backbone)
    if name == IMAGENET and not folder.is_dir():
        raise InputError(
            f"config.weights='imagenet' is invalid: the folder {folder} does not exist; make it "
            f"with: {_conversion_command(backbone)}"
        )
    if name == IMAGENET:
        return load(folder)
    if name != "shipped":
        if not Path(name).is_dir():
            raise InputError(
                f"config.weights={name!r} is invalid: no such folder; expected shipped, analytic, "
                "random, imagenet or a folder made by tools/convert_weights.py"
            )
        return load(Path(name))
    if not SHIPPED.is_dir():
        raise InputError(
            f"config.weights='shipped' is invalid: the folder {SHIPPED} does not exist; reinstall "
            "mtl_jax with its checkpoints, or set config.weights to 'imagenet', 'analytic' or "
            "'random'"
        )
    return load(SHIPPED)


def find_for_backbone(name: str, backbone: str) -> Weights:
    """Return the weights of this name; raise InputError if they are of another backbone."""
    weights = find(name, backbone)
    weights_backbone = weights.metadata["backbone"]
    if weights_backbone != backbone:
        raise InputError(
            f"config.weights={name} is invalid: these are weights of {weights_backbone}, and "
            f"config.model.backbone is {backbone}; set "
            f"--config.model.backbone={weights_backbone}, or give weights of {backbone}"
        )
    return weights


def find_for_plan(name: str, backbone: str) -> Weights:
    """Return the weights of this name for a dry run; layer names alone if they do not exist yet.

    The note then has the command that makes them.
    """
    if name != IMAGENET or get_imagenet_folder(backbone).is_dir():
        return find_for_backbone(name, backbone)
    note = f"They do not exist yet. Make them first: {_conversion_command(backbone)}"
    metadata = _untrained(backbone, "ImageNet convolutions", note).metadata
    return Weights({layer: {} for layer in registry.build(backbone).stages}, metadata)


def require_photographs(weights: Weights, study: str) -> None:
    """Raise InputError if the metadata does not show convolutions trained on photographs."""
    task = weights.metadata.get("training", {}).get("task", "")
    if "no photograph" in f"{task} {weights.metadata['note']}" or not weights.params:
        raise InputError(
            f"config.weights: {weights.metadata['name']} has no convolutions trained on "
            f"photographs; with the paper preset the study {study} starts from ImageNet weights: "
            f"set config.weights to '{IMAGENET}', or use --config=FILE:demo"
        )


def _conversion_command(backbone: str) -> str:
    """Return the command that makes the ImageNet folder; only AlexNet can be downloaded."""
    source = "--download" if backbone == ALEXNET else "FILE"
    return f"python tools/convert_weights.py {source} --output {get_imagenet_folder(backbone)}"


def _untrained(backbone: str, name: str, note: str) -> Weights:
    return Weights({}, make_metadata({}, backbone=backbone, name=name, source="none", note=note))
