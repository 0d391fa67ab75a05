"""Read the results of the analyses in a work folder."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError


class Rois(NamedTuple):
    """The analysed ROIs.

    Attributes
    ----------
    roi_id, case_id, lesion_id, view, task
        Ids, view and collection, (n,) str.
    label
        1 for malignant, 0 for benign, (n,) int.
    learned
        Whether the ROI is in the training set, (n,) bool.
    sampled
        Whether the ROI is in the t-SNE sample, (n,) bool.
    picture
        Images (n, 128, 128) uint8, or (0, 128, 128) if config.analysis.show_rois is false.
    """

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
    """Feature maps and attributions of r selected ROIs.

    The number of layers is 5, or 0 for a backbone without deconvolution maps.

    Attributes
    ----------
    roi_id, kind
        Id of the ROI and reason for its selection, (r,) str.
    label
        1 for malignant, 0 for benign, (r,) int.
    picture
        Images (r, 128, 128) uint8.
    layer
        Names of the layers, (5,) str.
    feature
        Indices of the strongest feature maps, (r, 5, k) int.
    maps
        Feature maps projected to pixels, with maximum 1, (r, 5, k, 128, 128).
    integrated
        Integrated gradients of the log odds, (r, 128, 128).
    """

    roi_id: np.ndarray
    kind: np.ndarray
    label: np.ndarray
    picture: np.ndarray
    layer: np.ndarray
    feature: np.ndarray
    maps: np.ndarray
    integrated: np.ndarray


class Embedding(NamedTuple):
    """t-SNE points (m, 2) of the sampled ROIs, costs of all initializations, and the perplexity."""

    points: np.ndarray
    costs: np.ndarray
    perplexity: float


class Findings(NamedTuple):
    """Results of the analyses.

    Embeddings by approach and layer, rows of the convergence table and maps by approach, and rows
    of the table of layers.
    """

    rois: Rois
    embeddings: dict[str, dict[str, Embedding]]
    convergence: dict[str, list[dict[str, str]]]
    maps: dict[str, Maps]
    layers: list[dict[str, str]]


def read(folder: Path) -> Findings | None:
    """Read the folder analysis/ of a work folder.

    Parameters
    ----------
    folder
        The folder analysis/.

    Returns
    -------
    Findings or None
        None if no analysis was made.

    Raises
    ------
    InputError
        If a file is damaged.
    """
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
