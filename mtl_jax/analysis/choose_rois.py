"""Choose the ROIs of the analyses by fixed rules and a seed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtl_jax.types import InputError, RoiSet

# The extreme scores of each class: (name, label, highest score first).
KINDS = (
    ("malignant, scored highest", 1, True),
    ("malignant, scored lowest", 1, False),
    ("benign, scored lowest", 0, False),
    ("benign, scored highest", 0, True),
)


class ChosenRois(NamedTuple):
    """The chosen ROIs, one row each."""

    task: np.ndarray  # (n,) str: its collection
    row: np.ndarray  # (n,) int: its row in the collection
    learned: np.ndarray  # (n,) bool: whether it is in the training set
    sampled: np.ndarray  # (n,) bool: whether t-SNE and the convergence measures use it


def choose_rois(
    train_rows: Mapping[str, np.ndarray],
    target: str,
    evaluation_rows: np.ndarray,
    shown_rows: np.ndarray,
    max_rois: int,
    seed: int,
) -> ChosenRois:
    """Return a random sample of ROIs, followed by the `shown_rows` of the target outside of it.

    The sample has at most `max_rois` training ROIs of each collection and at most `max_rois` of the
    target's `evaluation_rows`.
    """
    rng, parts = np.random.default_rng(seed), []
    for task, rows in train_rows.items():
        parts.append((task, _sample(rows, max_rois, rng), True, True))
    sampled_rows = _sample(evaluation_rows, max_rois, rng)
    parts.append((target, sampled_rows, False, True))
    parts.append((target, np.setdiff1d(shown_rows, sampled_rows), False, False))
    columns = [
        np.concatenate([np.full(len(part[1]), part[i]) if i != 1 else part[1] for part in parts])
        for i in range(4)
    ]
    return ChosenRois(*columns)


def extreme_rois(label: np.ndarray, score: np.ndarray, count: int) -> list[tuple[str, int]]:
    """Return (kind, row) of the `count` ROIs with the most extreme scores, for each of KINDS.

    Ties are broken by the row number. `score` (n,) is the mean over the approaches, so that the
    same ROIs are explained for all of them. No row is listed twice.
    """
    extremes = []
    for kind, label_value, highest in KINDS:
        rows = np.flatnonzero(label == label_value)
        order = np.argsort(-score[rows] if highest else score[rows], kind="stable")
        extremes += [(kind, int(row)) for row in rows[order[:count]]]
    seen: set[int] = set()
    return [(kind, row) for kind, row in extremes if not (row in seen or seen.add(row))]


def find_rois(rois: RoiSet, roi_ids: Sequence[str]) -> list[tuple[str, int]]:
    """Return (kind, row) of the ROIs in config.analysis.roi_ids.

    Raises InputError if an id is unknown.
    """
    row = {str(roi_id): i for i, roi_id in enumerate(rois.index["roi_id"])}
    unknown = [roi_id for roi_id in roi_ids if roi_id not in row]
    if unknown:
        raise InputError(
            f"config.analysis.roi_ids has {unknown[0]!r}, which is not a roi_id of {rois.name};"
            " see scores.csv of its runs or index.csv of its shards"
        )
    return [("requested", row[roi_id]) for roi_id in roi_ids]


def _sample(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(rows)[:count])
