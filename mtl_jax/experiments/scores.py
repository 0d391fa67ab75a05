"""The scores of one run: one row an ROI, kept in scores.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_jax import roc
from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import format_csv
from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError, RoiSet, Run

MIN_EQUAL = 10  # ROIs of a collection, below which equal scores can be chance


class Scores(NamedTuple):
    """Ids (n,) str, labels (n,) int and scores (n,) float32 of ROIs; a score is the probability of
    malignancy, averaged over the eight orientations."""

    roi_id: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    view: np.ndarray
    task: np.ndarray
    label: np.ndarray
    score: np.ndarray

    def select_rows(self, rows: np.ndarray) -> "Scores":
        """Return the rows of an index or mask array."""
        return Scores(*(column[rows] for column in self))


def make_scores(rois: RoiSet, rows: np.ndarray, score: np.ndarray) -> Scores:
    """Return the scores of these rows of a collection; raise InputError if one is not finite."""
    if not np.isfinite(score).all():
        roi_id = rois.index["roi_id"][rows][~np.isfinite(score)][0]
        raise InputError(
            f"{rois.name}: the score of ROI {roi_id} is not finite; lower"
            " config.train.learning_rate"
        )
    ids = [rois.index[name][rows].astype(str) for name in Scores._fields[:4]]
    task = np.full(len(rows), rois.name)
    return Scores(*ids, task, rois.index["label"][rows].astype(int), np.float32(score))


def aggregate(scores: Scores, unit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return label, score and case id of each view, or of each lesion (the mean over its views)."""
    if unit == "view":
        return scores.label, scores.score, scores.case_id
    lesions = roc.view_to_lesion(scores.label, scores.score, scores.case_id, scores.lesion_id)
    return lesions.labels, lesions.scores, lesions.cases


def equal_scores(tables: Mapping[str, Scores]) -> list[dict[str, Any]]:
    """Return the runs that give most ROIs of a collection the same score: {run, collection,
    fraction of the ROIs}.

    It is one score for more than half of the malignant and of the benign ROIs, so that perfect
    scores of 1 for all malignant ones are none; collections with fewer than MIN_EQUAL ROIs or one
    class are left out. The units of such a network do not respond to its input, mostly after too
    high a learning rate: its AUC is near 0.5, with an interval that is too narrow.
    """
    found = []
    for run_id, scores in tables.items():
        for task in dict.fromkeys(scores.task.tolist()):
            of_task = scores.select_rows(scores.task == task)
            values, counts = np.unique(of_task.score, return_counts=True)
            equal = of_task.score == values[counts.argmax()]
            by_class = [equal[of_task.label == label] for label in (0, 1)]
            if len(equal) >= MIN_EQUAL and all(e.size and e.mean() > 0.5 for e in by_class):
                fraction = float(equal.mean())
                found.append({"run": run_id, "collection": task, "fraction": fraction})
    return found


def concatenate(tables: Sequence[Scores]) -> Scores:
    return Scores(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores.csv atomically."""
    atomic.write_text(path, to_csv(scores))


def to_csv(scores: Scores) -> str:
    """Return scores.csv as text. Nine digits represent a float32 exactly."""
    rows = ([*ids, label, f"{x:.9g}"] for *ids, label, x in zip(*scores, strict=True))
    return format_csv(Scores._fields, rows)


def read_runs(runs: Sequence[Run], folder: Path) -> dict[str, Scores]:
    """Read the scores of finished runs of a work folder, by run id."""
    return {run.id: read_scores(folder / "runs" / run.id / "scores.csv") for run in runs}


def read_scores(path: Path) -> Scores:
    """Read scores.csv; raise InputError if the file is missing or damaged."""
    try:
        table = read_csv(path)[list(Scores._fields)].to_numpy().T
        *ids, label, score = (np.array(column, str) for column in table)
        return Scores(*ids, label.astype(int), score.astype(np.float32))
    except (OSError, KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(
            f"{path}: missing or damaged ({error}); delete {path.parent} and run the job again"
        ) from error
