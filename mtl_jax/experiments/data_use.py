"""What each collection is used for in the stages of a study: the rows of the paper's Table 2.

It counts the rows of `splits.members`, which training and scoring use.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_jax.experiments.splits import Split, run_rows
from mtl_jax.training.orientations import COUNT
from mtl_jax.types import RoiSet, Run


def data_use(
    stages: Mapping[str, Sequence[Run]], collections: Mapping[str, RoiSet], split: Split
) -> list[dict[str, Any]]:
    """Return the ROIs of each collection, grouped by the stages that train on them and evaluate
    them.

    Returns a list of {collection, trained_in, evaluated_in, cases, lesions, views, rois_augmented},
    lesions and views as {malignant, benign}. No ROI is in two entries.
    """
    use = {name: _empty(len(stages), len(rois)) for name, rois in collections.items()}
    for number, runs in enumerate(stages.values()):
        for run in {_rows_key(run): run for run in runs}.values():
            learned, scored = run_rows(run, collections, split)
            for task in run.tasks:
                use[task][0, number, learned[task]] = True
                use[task][1, number, scored[task]] = True
    names = list(stages)
    return [
        entry
        for name, rois in collections.items()
        for entry in _entries(name, rois, use[name], names)
    ]


def _rows_key(run: Run) -> tuple[Any, ...]:
    """Run with the same key train on and score the same rows."""
    subset = None if run.target_cases is None else (run.target_cases, run.initialization)
    return run.tasks, run.split, run.fold, subset


def _empty(stages: int, rois: int) -> np.ndarray:
    """Return whether each ROI is trained on, and whether it is evaluated: (2, stages, rois)
    bool."""
    return np.zeros((2, stages, rois), bool)


def _entries(
    name: str, rois: RoiSet, use: np.ndarray, stages: Sequence[str]
) -> list[dict[str, Any]]:
    flat = use.reshape(-1, len(rois)).T
    kinds, member = np.unique(flat, axis=0, return_inverse=True)
    entries = []
    for number, kind in enumerate(kinds.reshape(-1, *use.shape[:2])):
        trained, evaluated = ([s for s, on in zip(stages, k, strict=True) if on] for k in kind)
        rows = np.flatnonzero(member.ravel() == number)
        entries.append(
            {"collection": name, "trained_in": trained, "evaluated_in": evaluated}
            | _sizes(rois, rows)
        )
    return sorted(entries, key=lambda e: (not e["trained_in"], not e["evaluated_in"]))


def _sizes(rois: RoiSet, rows: np.ndarray) -> dict[str, Any]:
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
