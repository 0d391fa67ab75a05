"""Count the cases, lesions and views of each collection by stage, as in Table 2 of the paper."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_jax.experiments.inner_set import draw_inner
from mtl_jax.experiments.splits import Split, run_rows
from mtl_jax.training.orientations import COUNT
from mtl_jax.types import RoiSet, Run

USES = ("trained_in", "evaluated_in", "inner_in")


def data_use(
    stages: Mapping[str, Sequence[Run]],
    collections: Mapping[str, RoiSet],
    split: Split,
    inner_fraction: float = 0.0,
) -> list[dict[str, Any]]:
    """Return the ROIs of each collection, grouped by the stages that train on or evaluate them.

    Each entry is {collection, trained_in, evaluated_in, inner_in, cases, lesions, views,
    rois_augmented}; lesions and views are {malignant, benign}. Each ROI is in one entry. `inner_in`
    are the stages in which an ROI only decides when to stop and trains no run.
    """
    used = {name: np.zeros((3, len(stages), len(rois)), bool) for name, rois in collections.items()}
    for number, runs in enumerate(stages.values()):
        for run in {_rows_key(run): run for run in runs}.values():
            train_rows, evaluation_rows = run_rows(run, collections, split)
            train_rows, inner_rows = draw_inner(
                run, train_rows, collections, inner_fraction, split.seed
            )
            for task in run.tasks:
                used[task][0, number, train_rows[task]] = True
                used[task][1, number, evaluation_rows[task]] = True
                used[task][2, number, inner_rows[task]] = True
    for flags in used.values():
        flags[2] &= ~flags[0]  # trained on by another run of the stage
    return [
        entry
        for name, rois in collections.items()
        for entry in _entries(name, rois, used[name], list(stages))
    ]


def _rows_key(run: Run) -> tuple[Any, ...]:
    """Return a key that is equal for runs that train on and score the same rows."""
    subset = None if run.target_cases is None else (run.target_cases, run.initialization)
    return run.tasks, run.split, run.fold, subset


def _entries(
    name: str, rois: RoiSet, used: np.ndarray, stages: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the entries of one collection; `used` is (uses, stages, ROIs) bool."""
    flat = used.reshape(-1, len(rois)).T
    patterns, pattern_of_roi = np.unique(flat, axis=0, return_inverse=True)
    entries = []
    for number, pattern in enumerate(patterns.reshape(-1, *used.shape[:2])):
        uses = {
            use: [stage for stage, is_used in zip(stages, row, strict=True) if is_used]
            for use, row in zip(USES, pattern, strict=True)
        }
        rows = np.flatnonzero(pattern_of_roi.ravel() == number)
        entries.append({"collection": name} | uses | _count_cases(rois, rows))
    return sorted(entries, key=lambda entry: (not entry["trained_in"], not entry["evaluated_in"]))


def _count_cases(rois: RoiSet, rows: np.ndarray) -> dict[str, Any]:
    case, lesion = (rois.index[column][rows].tolist() for column in ("case_id", "lesion_id"))
    label = rois.index["label"][rows].tolist()
    lesions = dict(zip(zip(case, lesion, strict=True), label, strict=True))
    malignant = sum(lesions.values())
    return {
        "cases": len(set(case)),
        "lesions": {"malignant": malignant, "benign": len(lesions) - malignant},
        "views": {"malignant": sum(label), "benign": len(label) - sum(label)},
        "rois_augmented": COUNT * len(label),
    }
