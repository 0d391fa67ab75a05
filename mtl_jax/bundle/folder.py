"""Save a model bundle as a folder, and load it after its checksums were verified.

    bundle.json              network, training, calibration, and the range of the training ROIs
    weights.safetensors      parameters, under names such as 'C1/kernel'
    reference.safetensors    score, label and F4 features of each training lesion
    reference.csv            task, case and lesion of each training lesion, in the same order
    card.md                  model card
    SHA256SUMS               checksums of these files

A bundle contains no training image.
"""

import json
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from mtl_jax.bundle.model import Model, Reference
from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import format_csv
from mtl_jax.io.read_csv import read_csv
from mtl_jax.models import base
from mtl_jax.old_names import rename_keys
from mtl_jax.types import InputError

FORMAT_VERSION = 1
CURE = "copy or export the bundle again"
IDS = ("task", "case_id", "lesion_id")
VALUES = ("label", "score", "features")


def save(model: Model, card: str, folder: Path, extras: dict[str, bytes] | None = None) -> None:
    """Save a model as a bundle.

    Parameters
    ----------
    model
        The model to save.
    card
        Text of the model card.
    folder
        Folder to create.
    extras
        Contents of further files, by file name.

    Raises
    ------
    InputError
        If `folder` exists.
    """
    folder = Path(folder).absolute()
    if folder.exists():
        raise InputError(f"{folder}: already exists; choose another --output or delete it")
    flat = {
        path: np.ascontiguousarray(value, np.float32)
        for path, value in flatten_dict(model.params, sep="/").items()
    }
    arrays = {name: np.ascontiguousarray(getattr(model.reference, name)) for name in VALUES}
    ids = format_csv(IDS, zip(*(getattr(model.reference, name) for name in IDS), strict=True))
    about = {"format_version": FORMAT_VERSION, **model.about}
    with atomic.write_folder(folder) as draft:
        (draft / "weights.safetensors").write_bytes(to_bytes(flat))
        (draft / "reference.safetensors").write_bytes(to_bytes(arrays))
        (draft / "reference.csv").write_text(ids, encoding="utf-8", newline="")
        text = json.dumps(about, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (draft / "bundle.json").write_text(text, encoding="utf-8")
        (draft / "card.md").write_text(card, encoding="utf-8")
        for name, content in (extras or {}).items():
            (draft / name).write_bytes(content)
        atomic.write_checksums(draft)


def load(folder: str | Path) -> Model:
    """Load a model bundle.

    Bundles of version 0.1.0 load too: their keys are renamed in memory.

    Parameters
    ----------
    folder
        Folder written by `save` or `mtl-jax export`.

    Returns
    -------
    Model
        The model, ready to score images.

    Raises
    ------
    InputError
        If the folder is not a model bundle, or a file in it was changed.
    """
    folder = Path(folder)
    if not (folder / "bundle.json").is_file():
        raise InputError(
            f"{folder}: not a model bundle (no bundle.json); make one with mtl-jax export RUN"
            " --output FOLDER"
        )
    changed = atomic.verify_checksums(folder)
    if changed:
        raise InputError(
            f"{folder}: damaged: {changed!r} is missing, new or changed (its SHA-256 differs from"
            f" {atomic.CHECKSUMS}); {CURE}"
        )
    try:
        about = rename_keys(json.loads((folder / "bundle.json").read_text(encoding="utf-8")))
        version = about.pop("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"{folder}: bundle format {version}, expected {FORMAT_VERSION}; export it again, or"
                f" use the version that made it ({about['made_with']})"
            )
        params = unflatten_dict(load_file(folder / "weights.safetensors"), sep="/")
        arrays = load_file(folder / "reference.safetensors")
        table = read_csv(folder / "reference.csv")
        ids = [np.array(column, str) for column in table[list(IDS)].to_numpy().T]
        reference = Reference(*ids, *(arrays[name] for name in VALUES))
        lengths = {len(column) for column in reference}
        if len(lengths) != 1:
            raise ValueError(f"reference columns have {sorted(lengths)} rows")
        model = Model(about, params, reference, atomic.file_sha256(folder / atomic.CHECKSUMS))
        _check_parameters(model)
        _check_calibration(model)
    # The checksums match, so the bundle was edited by hand or written by another version.
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: not a model bundle of this package ({error}); {CURE}"
        ) from error
    return model


def _check_calibration(model: Model) -> None:
    """Raise ValueError if the probability falls with the score, as earlier versions allowed."""
    fitted = model.about.get("calibration") or {}
    for unit in ("view", "lesion") if fitted else ():
        if not fitted[unit]["a"] > 0:
            raise ValueError(f"the {unit}-level calibration has slope {fitted[unit]['a']:.3g}")


def _check_parameters(model: Model) -> None:
    """Raise ValueError if the parameters do not fit the network of the bundle."""
    params = flatten_dict(model.params, sep="/")
    expected = base.param_shapes(model.network)
    wrong = {path: value.shape for path, value in params.items()} != expected
    if wrong or any(value.dtype != np.float32 for value in params.values()):
        raise ValueError("the weights do not fit the network")
