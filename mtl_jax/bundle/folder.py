"""The folder of a model bundle: written whole or not, and read only where no byte has changed.

    bundle.json              what the network is, was made from and may be used on
    weights.safetensors      its parameters, 'C1/kernel' and so on
    reference.safetensors    of each training lesion: score, label, features of F4
    reference.csv            and its task, case and lesion, in the same order
    card.md                  the model card
    SHA256SUMS               of all of these

It computes nothing. No training image is in it.
"""

import json
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

from mtl_jax.bundle.model import Model, Reference
from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import as_csv
from mtl_jax.io.read_csv import read_csv
from mtl_jax.models import base
from mtl_jax.types import InputError

FORMAT_VERSION = 1
CURE = "get the bundle again"
IDS = ("task", "case_id", "lesion_id")
VALUES = ("label", "score", "features")


def save(model: Model, card: str, folder: Path, extras: dict[str, bytes] | None = None) -> None:
    """Writes `folder`, which must not exist; `extras` are further files by name."""
    folder = Path(folder).absolute()
    if folder.exists():
        raise InputError(f"{folder}: exists already; choose another --output or delete it")
    flat = {
        path: np.ascontiguousarray(value, np.float32)
        for path, value in flatten_dict(model.params, sep="/").items()
    }
    arrays = {name: np.ascontiguousarray(getattr(model.reference, name)) for name in VALUES}
    ids = as_csv(IDS, zip(*(getattr(model.reference, name) for name in IDS), strict=True))
    about = {"format_version": FORMAT_VERSION, **model.about}
    with atomic.folder(folder) as draft:
        (draft / "weights.safetensors").write_bytes(to_bytes(flat))
        (draft / "reference.safetensors").write_bytes(to_bytes(arrays))
        (draft / "reference.csv").write_text(ids, encoding="utf-8", newline="")
        text = json.dumps(about, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (draft / "bundle.json").write_text(text, encoding="utf-8")
        (draft / "card.md").write_text(card, encoding="utf-8")
        for name, content in (extras or {}).items():
            (draft / name).write_bytes(content)
        atomic.write_sums(draft)


def load(folder: str | Path) -> Model:
    """The model in `folder`. InputError: no bundle is there, or a byte of it has changed."""
    folder = Path(folder)
    if not (folder / "bundle.json").is_file():
        raise InputError(
            f"{folder}: no model bundle here (no bundle.json); make one with tools/export.py RUN"
            " --output FOLDER"
        )
    changed = atomic.damage(folder)
    if changed:
        raise InputError(
            f"{folder}: damaged: {changed!r} is missing, new or changed (SHA-256 not as in"
            f" {atomic.SUMS}); {CURE}"
        )
    try:
        about = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        version = about.pop("format_version")
        if version != FORMAT_VERSION:
            raise InputError(
                f"{folder}: bundle format {version}, here {FORMAT_VERSION}; export it again, or use"
                f" the version that made it ({about['made_with']})"
            )
        params = unflatten_dict(load_file(folder / "weights.safetensors"), sep="/")
        arrays = load_file(folder / "reference.safetensors")
        lines = read_csv(folder / "reference.csv")
        ids = [np.array(column, str) for column in lines[list(IDS)].to_numpy().T]
        reference = Reference(*ids, *(arrays[name] for name in VALUES))
        lengths = {len(column) for column in reference}
        if len(lengths) != 1:
            raise ValueError(f"reference of {sorted(lengths)} lesions")
        model = Model(about, params, reference, atomic.digest(folder / atomic.SUMS))
        _reject_other_network(model)
        _reject_falling(model)
    # Its checksums hold, so it was made so: by hand, or by a version that differs.
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{folder}: not a model bundle of this package ({error}); {CURE}"
        ) from error
    return model


def _reject_falling(model: Model) -> None:
    """ValueError where a higher score would mean a lower probability: bundles of earlier versions
    may hold such a calibration."""
    fitted = model.about.get("calibration") or {}
    for unit in ("view", "lesion") if fitted else ():
        if not fitted[unit]["a"] > 0:
            raise ValueError(f"its calibration per {unit} falls, slope {fitted[unit]['a']:.3g}")


def _reject_other_network(model: Model) -> None:
    """ValueError where the parameters are not those of the network that the bundle names."""
    params = flatten_dict(model.params, sep="/")
    expected = base.shapes(model.network)
    wrong = {path: value.shape for path, value in params.items()} != expected
    if wrong or any(value.dtype != np.float32 for value in params.values()):
        raise ValueError("its weights are not those of its network")
