"""Load the weights that `config.weights` names: shipped, ImageNet, Gabor, random, or a folder."""

from pathlib import Path

from mtl_jax.config import ALEXNET, CHECKPOINTS, IMAGENET
from mtl_jax.io import shipped_files, user_folders
from mtl_jax.models import registry
from mtl_jax.types import InputError
from mtl_jax.weights.folder import load
from mtl_jax.weights.gabor import make_analytic
from mtl_jax.weights.metadata import Weights, make_metadata

SHIPPED = shipped_files.find("checkpoints/formulas")


def get_imagenet_folder(backbone: str = ALEXNET) -> Path:
    """Return the folder of converted ImageNet weights, which config.weights='imagenet' reads."""
    return user_folders.find_checkpoint(f"{backbone}_{IMAGENET}")


def find(name: str, backbone: str = ALEXNET, approach: str = "") -> Weights:
    """Return the weights that `config.weights` names; InputError if they do not exist.

    `name` is 'shipped' or 'analytic' (AlexNet only), 'random', 'imagenet' (the folder that
    `mtl-jax convert` writes for `backbone`) or the path of a folder. Other weights are never
    substituted. Errors name config.weights, or the `approach` that has the weights as an option.
    """
    if name == "random":
        return _untrained(backbone, "random", "Not pretrained: all layers are random.")
    if name == "analytic":
        return make_analytic()
    folder = _folder(name, backbone)
    if folder.is_dir():
        return load(folder)
    if name == "shipped":
        reason = (
            f"the folder {folder} does not exist; reinstall mtl_jax with its checkpoints, or use "
            "imagenet, analytic or random weights"
        )
    elif _is_converted(name):
        reason = (
            f"there is no folder {folder.name} in {_list_checkpoints()}; make it with: "
            f"{_conversion_command(name, backbone)}"
        )
    else:
        reason = (
            "no such folder; expected shipped, analytic, random, imagenet or a folder made by "
            "mtl-jax convert"
        )
    raise InputError(f"{_setting(name, approach)} is invalid: {reason}")


def find_for_backbone(name: str, backbone: str, approach: str = "") -> Weights:
    """Return the weights of this name; raise InputError if they are of another backbone."""
    weights = find(name, backbone, approach)
    weights_backbone = weights.metadata["backbone"]
    if weights_backbone == backbone:
        return weights
    option = f"+backbone={weights_backbone}"
    if not approach:
        option = f"--config.model.backbone={weights_backbone}"
    raise InputError(
        f"{_setting(name, approach)} is invalid: these are weights of {weights_backbone}, and "
        f"{'its backbone' if approach else 'config.model.backbone'} is {backbone}; set {option}, "
        f"or give weights of {backbone}"
    )


def find_for_plan(name: str, backbone: str, approach: str = "") -> Weights:
    """Return the weights of this name for a dry run; layer names alone if they are a folder in
    checkpoints that does not exist yet.

    The note then has the command that makes them.
    """
    folder = _folder(name, backbone)
    if not _is_converted(name) or folder.is_dir():
        return find_for_backbone(name, backbone, approach)
    title = "ImageNet convolutions" if name == IMAGENET else name
    note = f"They do not exist yet. Make them first: {_conversion_command(name, backbone)}"
    metadata = _untrained(backbone, title, note).metadata
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


def _folder(name: str, backbone: str) -> Path:
    """Return the folder of the weights of this name."""
    if name == "shipped":
        return SHIPPED
    if name == IMAGENET:
        return get_imagenet_folder(backbone)
    return user_folders.find_checkpoint(Path(name).name) if _is_converted(name) else Path(name)


def _is_converted(name: str) -> bool:
    """Return whether `mtl-jax convert` writes the weights of this name to checkpoints."""
    return name == IMAGENET or Path(name).parent == Path(CHECKPOINTS)


def _setting(name: str, approach: str) -> str:
    """Return the setting that names the weights, for an error message."""
    return f"config.approaches={approach!r}" if approach else f"config.weights={name!r}"


def _list_checkpoints() -> str:
    """Return the folders in which converted weights are searched."""
    return " or ".join(map(str, user_folders.checkpoints()))


def _conversion_command(name: str, backbone: str) -> str:
    """Return the command that makes these weights; only ImageNet's AlexNet can be downloaded."""
    is_imagenet = name == IMAGENET or Path(name).name == f"{backbone}_{IMAGENET}"
    source = "--download" if is_imagenet and backbone == ALEXNET else "FILE"
    return f"mtl-jax convert {source}" + ("" if is_imagenet else f" --output {name}")


def _untrained(backbone: str, name: str, note: str) -> Weights:
    return Weights({}, make_metadata({}, backbone=backbone, name=name, source="none", note=note))
