"""What `config.weights` names: shipped or ImageNet weights, a folder, Gabor filters, nothing."""

import sysconfig
from pathlib import Path

from mtl_jax.config import IMAGENET
from mtl_jax.types import InputError
from mtl_jax.weights.folder import load
from mtl_jax.weights.gabor import analytic
from mtl_jax.weights.key_tables import CONVOLUTIONAL
from mtl_jax.weights.metadata import PLAIN_INPUT, Weights, make_card


def shipped_folder() -> Path:
    """Return the shipped weights: of the checkout, else where a wheel installs its data: for all
    users, for this one, or beside the packages (pip install --target). The first where none is
    there."""
    beside = Path(__file__).resolve().parents[2]
    schemes = (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user"))
    data = [Path(sysconfig.get_path("data", scheme)) for scheme in schemes]
    installed = [place / "share" / "mtl_jax" for place in (*data, beside)]
    places = [place / "checkpoints" / "formulas" for place in (beside, *installed)]
    return next((place for place in places if place.is_dir()), places[0])


SHIPPED = shipped_folder()
CHECKPOINTS = Path("checkpoints")  # of the current folder: where converted weights are written


def imagenet_folder(backbone: str = "alexnet") -> Path:
    """Return where tools/convert_weights.py writes ImageNet weights, and config.weights='imagenet'
    reads them."""
    return CHECKPOINTS / f"{backbone}_{IMAGENET}"


def find(name: str, backbone: str = "alexnet") -> Weights:
    """Return the weights of this name.

    'shipped' and 'analytic' are AlexNet's, 'random' is `backbone`'s, 'imagenet' is the folder that
    tools/convert_weights.py writes for `backbone`; any other name is a folder, of the backbone that
    its card says. Raises InputError where the weights are absent: nothing takes their place.
    """
    if name == "random":
        return _not_pretrained(backbone, "random", "Not pretrained: every layer random.")
    if name == "analytic":
        return analytic()
    if name == IMAGENET:
        _require_imagenet(backbone)
        return load(imagenet_folder(backbone))
    if name != "shipped":
        return load(Path(name))
    if not SHIPPED.is_dir():
        raise InputError(
            f"config.weights is 'shipped', and {SHIPPED} is not there; reinstall mtl_jax with its "
            "checkpoints, or set config.weights to 'imagenet', 'analytic' or 'random'"
        )
    return load(SHIPPED)


def find_of(name: str, backbone: str) -> Weights:
    """As `find`; InputError where the weights are of another backbone."""
    found = find(name, backbone)
    if found.card["backbone"] != backbone:
        raise InputError(
            f"config.weights: {name} are weights of {found.card['backbone']}, and "
            "config.model.backbone "
            f"is {backbone}; set --config.model.backbone={found.card['backbone']}, "
            "or give weights of "
            f"{backbone}"
        )
    return found


def planned(name: str, backbone: str) -> Weights:
    """As `find_of`, for a plan without training: ImageNet weights may be still to be made, and
    are then named without their numbers."""
    if name != IMAGENET or imagenet_folder(backbone).is_dir():
        return find_of(name, backbone)
    note = f"Not there yet. Make them first: {_command(backbone)}"
    found = _not_pretrained(backbone, "ImageNet convolutions", note)
    return Weights({layer: {} for layer in CONVOLUTIONAL}, found.card)


def require_photographs(found: Weights, study: str) -> None:
    """Raise InputError where the card says that the convolutions never learned a photograph."""
    task = found.card.get("training", {}).get("task", "")
    if "no photograph" in f"{task} {found.card['note']}" or not found.params:
        raise InputError(
            f"config.weights: {found.card['name']} holds no convolutions trained on photographs; "
            f"at the paper preset a study of {study} starts from ImageNet's: set config.weights to "
            f"'{IMAGENET}', or use --config=FILE:demo"
        )


def _require_imagenet(backbone: str) -> None:
    folder = imagenet_folder(backbone)
    if not folder.is_dir():
        raise InputError(
            f"config.weights is 'imagenet', and {folder} is not there; make it: "
            f"{_command(backbone)}"
        )


def _command(backbone: str) -> str:
    """Return how to make the folder; torchvision's AlexNet is the one that can be fetched."""
    source = "--download" if backbone == "alexnet" else "FILE"
    return f"python tools/convert_weights.py {source} --output {imagenet_folder(backbone)}"


def _not_pretrained(backbone: str, name: str, note: str) -> Weights:
    card = make_card(
        {},
        backbone=backbone,
        name=name,
        source="none",
        sha256="",
        file_format="none",
        input_stats=PLAIN_INPUT,
        lrn=False,
        note=note,
    )
    return Weights({}, card)
