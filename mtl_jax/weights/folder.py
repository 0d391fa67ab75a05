"""Read and write a folder of converted weights: `params/`, `card.json` and `SHA256SUMS`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import path_aware_map

from mtl_jax.io import atomic
from mtl_jax.old_names import rename_keys
from mtl_jax.types import InputError
from mtl_jax.weights.metadata import (
    Weights,
    check_metadata,
    check_params,
    check_shapes,
    hash_params,
    round_to_half,
)

METADATA_FILE = "card.json"
# Orbax writes timestamps into this file, also when it reads.
TIMESTAMP_FILES = ("_CHECKPOINT_METADATA",)


def save(weights: Weights, folder: Path, replace: bool = False, half: bool = False) -> None:
    """Write `weights` to `folder` atomically; `replace` replaces a folder of converted weights.

    `half` stores float16, for which the parameters must already be rounded (`round_to_half`).
    Raises ValueError if the metadata were made for other parameters, or float16 would change one.
    """
    from mtl_jax.weights import param_io

    folder = Path(folder).absolute()
    if folder.exists() and not replace:
        raise InputError(f"{folder}: exists already; choose another name or replace it (--force)")
    if folder.exists() and not (folder / METADATA_FILE).is_file():
        raise InputError(f"{folder}: is not a folder of converted weights; choose another name")
    params = path_aware_map(lambda _, array: np.asarray(array), weights.params)
    check_metadata(weights.metadata, str(folder / METADATA_FILE))
    check_params(params, weights.metadata["backbone"], str(folder))
    if hash_params(params) != weights.metadata["arrays_sha256"]:
        raise ValueError("the metadata were made for other parameters")
    if half and hash_params(round_to_half(params)) != weights.metadata["arrays_sha256"]:
        raise ValueError("half precision would change the parameters")
    with atomic.write_folder(folder) as draft:
        param_io.write_tree(params, draft / "params", np.float16 if half else np.float32)
        atomic.write_text(draft / METADATA_FILE, json.dumps(weights.metadata, indent=2) + "\n")
        atomic.write_checksums(draft, TIMESTAMP_FILES)
        if folder.exists():
            shutil.rmtree(folder)


def load(folder: Path) -> Weights:
    """Return the weights in `folder` as NumPy arrays.

    Raises InputError if a file is missing, changed (SHA256SUMS) or does not match the metadata.
    Folders written by version 0.1.0 load too.
    """
    from mtl_jax.weights import param_io

    folder = Path(folder)
    metadata = _read_metadata(folder)
    # Verify the checksums before Orbax reads the files: on damaged files it can crash.
    damage = atomic.verify_checksums(folder, TIMESTAMP_FILES)
    if damage:
        raise InputError(
            f"{folder}: damaged: {damage} is missing, new or changed (SHA-256 not as in "
            f"{atomic.CHECKSUMS}); convert the weights again"
        )
    try:
        params = param_io.read_tree(folder / "params", metadata["shapes"])
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'params'}: damaged, or its layers are not those in {METADATA_FILE}; "
            "convert the weights again"
        ) from error
    check_params(params, metadata["backbone"], str(folder))
    if hash_params(params) != metadata["arrays_sha256"]:
        raise InputError(
            f"{folder}: the parameters are not those that were converted (SHA-256 differs from "
            f"{METADATA_FILE}); convert the weights again"
        )
    return Weights(params, metadata)


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA_FILE
    if not path.is_file():
        reason = f"no {METADATA_FILE}" if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder}: has no converted weights ({reason}); make them with "
            "mtl-jax convert INPUT --output FOLDER"
        )
    try:
        metadata = rename_keys(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path}: is not valid JSON; convert the weights again") from error
    if isinstance(metadata, dict):
        metadata.setdefault("backbone", "alexnet")  # the first folders did not name it
    check_metadata(metadata, str(path))
    check_shapes(metadata["shapes"], metadata["backbone"], str(path))
    return metadata
