"""Reads what the analyses left in a work folder. Judges and computes nothing."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError


class Rois(NamedTuple):
    """The ROIs looked at, a row each: ids and view (n,) str, label (n,) int, task (n,) str,
    whether it was learned and whether it was sampled (n,) bool, picture (n, 128, 128) uint8, or
    (0, 128, 128) where the pictures were to be left out."""

    roi_id: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    view: np.ndarray
    label: np.ndarray
    task: np.ndarray
    learned: np.ndarray
    sampled: np.ndarray
    picture: np.ndarray


class Maps(NamedTuple):
    """Of the ROIs explained, a row each: roi_id, kind (r,) str, label (r,) int, picture (r, 128,
    128) uint8, layer (5,) str, feature (r, 5, k) int, maps (r, 5, k, 128, 128), largest value 1,
    integrated gradients (r, 128, 128) in log odds. Of a network without such maps 5 is 0."""

    roi_id: np.ndarray
    kind: np.ndarray
    label: np.ndarray
    picture: np.ndarray
    layer: np.ndarray
    feature: np.ndarray
    maps: np.ndarray
    integrated: np.ndarray


class Embedding(NamedTuple):
    """Points (m, 2) of the sampled ROIs, costs of all starts, and the perplexity."""

    points: np.ndarray
    costs: np.ndarray
    perplexity: float


class Findings(NamedTuple):
    """What the analyses found: embeddings by approach and layer, rows of convergence and maps by
    approach, rows of the network's layers."""

    rois: Rois
    embeddings: dict[str, dict[str, Embedding]]
    convergence: dict[str, list[dict[str, str]]]
    maps: dict[str, Maps]
    layers: list[dict[str, str]]


def read(folder: Path) -> Findings | None:
    """What stands in `folder`, a work folder's analysis/; None where no analysis was made.

    InputError where a file is damaged.
    """
    if not (folder / "rois.npz").is_file():
        return None
    embeddings: dict[str, dict[str, Embedding]] = {}
    for path in sorted(folder.glob("tsne-*.npz")):
        approach, _, layer = path.stem.removeprefix("tsne-").rpartition("-")
        found = _arrays(path, Embedding._fields)
        embeddings.setdefault(approach, {})[layer] = Embedding(
            found["points"], found["costs"], float(found["perplexity"])
        )
    return Findings(
        Rois(**_arrays(folder / "rois.npz", Rois._fields)),
        embeddings,
        {_name(p, "convergence-"): _rows(p) for p in sorted(folder.glob("convergence-*.csv"))},
        {
            _name(p, "maps-"): Maps(**_arrays(p, Maps._fields))
            for p in sorted(folder.glob("maps-*.npz"))
        },
        _rows(folder / "layers.csv") if (folder / "layers.csv").is_file() else [],
    )


def _name(path: Path, prefix: str) -> str:
    return path.stem.removeprefix(prefix)


def _arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except Exception as error:  # zipfile, zlib, NumPy and a missing name raise each its own
        raise InputError(f"{path}: damaged ({error}); delete it and run the job again") from error


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return read_csv(path).to_dict("records")
    except (OSError, InputError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and run the job again") from error
