"""Read the results of the analyses in a work folder."""

from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError


class Rois(NamedTuple):
    """The analysed ROIs: ids, view and collection (n,) str, and the following."""

    roi_id: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    view: np.ndarray
    label: np.ndarray
    task: np.ndarray
    learned: np.ndarray  # (n,) bool: in the training set
    sampled: np.ndarray  # (n,) bool: in the t-SNE sample
    picture: np.ndarray  # (n, 128, 128) uint8; (0, 128, 128) without config.analysis.show_rois


class Maps(NamedTuple):
    """Feature maps of five layers and attributions of r selected ROIs.

    The number of layers is 0 for a backbone without deconvolution maps.
    """

    roi_id: np.ndarray
    kind: np.ndarray  # (r,) str: reason for the selection
    label: np.ndarray
    picture: np.ndarray  # (r, 128, 128) uint8
    layer: np.ndarray  # (5,) str
    feature: np.ndarray  # (r, 5, k) int: indices of the strongest feature maps
    maps: np.ndarray  # (r, 5, k, 128, 128): projected to pixels, with maximum 1
    integrated: np.ndarray  # (r, 128, 128): integrated gradients of the log odds


class Embedding(NamedTuple):
    """t-SNE points (m, 2) of the sampled ROIs, costs of all initializations, and the perplexity."""

    points: np.ndarray
    costs: np.ndarray
    perplexity: float


Table = TypeVar("Table", Rois, Maps, Embedding)


class Findings(NamedTuple):
    """Results of the analyses: embeddings by approach and layer, tables and maps by approach.

    The key of `layers` in a work folder of 0.2.0, which has one table of layers, is ''.
    """

    rois: Rois
    embeddings: dict[str, dict[str, Embedding]]
    convergence: dict[str, list[dict[str, str]]]
    maps: dict[str, Maps]
    layers: dict[str, list[dict[str, str]]]


def read(folder: Path) -> Findings | None:
    """Read the folder analysis/ of a work folder; None if no analysis was made."""
    if not (folder / "rois.npz").is_file():
        return None
    embeddings: dict[str, dict[str, Embedding]] = {}
    for name, path in _files(folder, "tsne-", ".npz"):
        approach, _, layer = name.rpartition("-")
        embedding = _arrays(path, Embedding)
        embedding = embedding._replace(perplexity=float(embedding.perplexity))
        embeddings.setdefault(approach, {})[layer] = embedding
    return Findings(
        _arrays(folder / "rois.npz", Rois),
        embeddings,
        {name: _rows(path) for name, path in _files(folder, "convergence-", ".csv")},
        {name: _arrays(path, Maps) for name, path in _files(folder, "maps-", ".npz")},
        {name.removeprefix("-"): _rows(path) for name, path in _files(folder, "layers", ".csv")},
    )


def _files(folder: Path, prefix: str, suffix: str) -> list[tuple[str, Path]]:
    paths = sorted(folder.glob(f"{prefix}*{suffix}"))
    return [(path.stem.removeprefix(prefix), path) for path in paths]


def _arrays(path: Path, kind: type[Table]) -> Table:
    try:
        with np.load(path, allow_pickle=False) as file:
            return kind(*(file[name] for name in kind._fields))
    except Exception as error:  # zipfile, zlib and NumPy raise different exception types
        raise InputError(f"{path}: damaged ({error}); delete it and run the job again") from error


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return read_csv(path).to_dict("records")
    except (OSError, InputError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and run the job again") from error
