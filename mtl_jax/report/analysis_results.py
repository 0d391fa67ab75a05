"""Read the results of the analyses in a work folder."""

from pathlib import Path
from typing import NamedTuple

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


class Findings(NamedTuple):
    """Results of the analyses: embeddings by approach and layer, tables, and maps by approach."""

    rois: Rois
    embeddings: dict[str, dict[str, Embedding]]
    convergence: dict[str, list[dict[str, str]]]
    maps: dict[str, Maps]
    layers: list[dict[str, str]]


def read(folder: Path) -> Findings | None:
    """Read the folder analysis/ of a work folder; None if no analysis was made."""
    if not (folder / "rois.npz").is_file():
        return None
    embeddings: dict[str, dict[str, Embedding]] = {}
    for path in sorted(folder.glob("tsne-*.npz")):
        approach, _, layer = path.stem.removeprefix("tsne-").rpartition("-")
        arrays = _arrays(path, Embedding._fields)
        embeddings.setdefault(approach, {})[layer] = Embedding(
            arrays["points"], arrays["costs"], float(arrays["perplexity"])
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
    except Exception as error:  # zipfile, zlib and NumPy raise different exception types
        raise InputError(f"{path}: damaged ({error}); delete it and run the job again") from error


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return read_csv(path).to_dict("records")
    except (OSError, InputError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and run the job again") from error
