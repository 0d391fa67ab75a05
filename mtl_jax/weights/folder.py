"""A folder of converted weights: `params/`, `card.json` and `SHA256SUMS`, written whole or not."""

import json
import shutil
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtl_jax import old_names
from mtl_jax.io import atomic
from mtl_jax.types import InputError
from mtl_jax.weights.metadata import Weights, check_card, check_params, check_shapes, digest, halved

# Orbax writes to this one, which holds times, again when it reads.
TIMES = ("_CHECKPOINT_METADATA",)


def save(weights: Weights, folder: Path, replace: bool = False, half: bool = False) -> None:
    """Write `weights` to `folder` under a temporary name, then renames it.

    `half`: in half precision, which must lose nothing (`card.halved` rounds). An existing folder is
    rejected, unless `replace` and it holds converted weights. ValueError where the card was made
    for other parameters.
    """
    from mtl_jax.weights import param_io

    folder = Path(folder).absolute()
    if folder.exists() and not replace:
        raise InputError(f"{folder}: exists already; choose another name or replace it (--force)")
    if folder.exists() and not (folder / "card.json").is_file():
        raise InputError(f"{folder}: is no folder of converted weights; choose another name")
    params = unflatten_dict(
        {p: np.asarray(a) for p, a in flatten_dict(weights.params, sep="/").items()}, sep="/"
    )
    check_card(weights.card, str(folder / "card.json"))
    check_params(params, weights.card["backbone"], str(folder))
    if digest(params) != weights.card["arrays_sha256"]:
        raise ValueError("the card was made for other parameters")
    if half and digest(halved(params)) != weights.card["arrays_sha256"]:
        raise ValueError("half precision would change the numbers")
    with atomic.folder(folder) as draft:
        param_io.write_tree(params, draft / "params", np.float16 if half else np.float32)
        atomic.write_text(draft / "card.json", json.dumps(weights.card, indent=2) + "\n")
        atomic.write_sums(draft, TIMES)
        if folder.exists():
            shutil.rmtree(folder)


def load(folder: Path) -> Weights:
    """Return the weights in `folder`, as NumPy arrays, checked against the card and its
    checksum."""
    from mtl_jax.weights import param_io

    folder = Path(folder)
    card_path = folder / "card.json"
    if not card_path.is_file():
        raise InputError(
            f"{folder}: no converted weights here (no card.json); make them with "
            "tools/convert_weights.py INPUT --output FOLDER"
        )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{card_path}: is not readable as JSON; convert the weights again"
        ) from error
    card = old_names.rename_keys(card)
    if isinstance(card, dict):
        card.setdefault("backbone", "alexnet")  # older cards, and that of the shipped weights
    check_card(card, str(card_path))
    check_shapes(card["shapes"], card["backbone"], str(card_path))
    # Before Orbax sees the files: it answers damaged ones with more than an exception.
    changed = atomic.damage(folder, TIMES)
    if changed:
        raise InputError(
            f"{folder}: damaged: {changed} is missing, new or changed (SHA-256 not as in "
            f"{atomic.SUMS}); convert the weights again"
        )
    try:
        params = param_io.read_tree(folder / "params", card["shapes"])
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'params'}: damaged or not the layers of card.json; "
            "convert the weights again"
        ) from error
    check_params(params, card["backbone"], str(folder))
    if digest(params) != card["arrays_sha256"]:
        raise InputError(
            f"{folder}: the numbers are not those that were converted (SHA-256 differs from "
            "card.json); convert the weights again"
        )
    return Weights(params, card)
