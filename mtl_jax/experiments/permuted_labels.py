"""Permute the labels of the auxiliary collections: a control without the meaning of the labels.

The images, the numbers of malignant and benign cases and the steps of training remain.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from mtl_jax.config import PERMUTED_LABELS, has_option
from mtl_jax.data.folds import Stream, case_labels
from mtl_jax.data.patients import cases_are
from mtl_jax.experiments.splits import Split
from mtl_jax.types import GROUPS, InputError, RoiSet, Run


def permuted_tasks(approach: str, tasks: Sequence[str]) -> list[str]:
    """Return those of the training collections whose labels an approach permutes: all but the
    first, or none."""
    return list(tasks[1:]) if has_option(approach, PERMUTED_LABELS) else []


def training_labels(
    run: Run, rows: Mapping[str, np.ndarray], collections: Mapping[str, RoiSet], split: Split
) -> dict[str, np.ndarray]:
    """Return the labels that a run is trained on, of its training `rows` of each collection.

    Raises InputError if labels are to be permuted and no permutation changes them.
    """
    labels = {task: collections[task].index["label"][rows[task]].astype(int) for task in rows}
    permuted = permuted_unit_labels(run, collections, split)
    if permuted and all(len(set(by_unit.values())) < 2 for by_unit in permuted.values()):
        raise InputError(
            f"run {run.id}: all training cases of {', '.join(permuted)} are of one class, so that"
            f" permuting their labels changes nothing; remove {run.approach!r} from"
            " config.approaches"
        )
    for task, by_unit in permuted.items():
        units = _units(collections[task])[rows[task]]
        labels[task] = np.array([by_unit[unit] for unit in units.tolist()], int)
    return labels


def permuted_unit_labels(
    run: Run, collections: Mapping[str, RoiSet], split: Split
) -> dict[str, dict[str, int]]:
    """Return {collection: {unit: label}} of the collections whose labels a run permutes.

    A unit is a case, or a lesion where groups take the place of patients: a group has many lesions
    of both classes, and one label for all of them would change the fraction of malignant ROIs. The
    labels, 1 if any lesion is malignant, are permuted among the units of the cases that are in no
    test set. The permutation depends on the seed, the initialization and the collection alone, so
    that a unit has the same label in every fold.
    """
    return {
        name: _permute(collections[name], split.excluded_cases(name), run)
        for name in permuted_tasks(run.approach, run.tasks)
    }


def _permute(rois: RoiSet, excluded: set[str], run: Run) -> dict[str, int]:
    used = np.array([case not in excluded for case in rois.index["case_id"].tolist()])
    by_unit = case_labels(_units(rois)[used], rois.index["label"][used])
    stream = (Stream.LABELS, run.initialization, zlib.crc32(rois.name.encode()))
    rng = np.random.default_rng(np.random.SeedSequence(run.seed, spawn_key=stream))
    return dict(zip(by_unit, rng.permutation(list(by_unit.values())).tolist(), strict=True))


def _units(rois: RoiSet) -> np.ndarray:
    """Return the unit (n,) of each ROI, str."""
    cases = rois.index["case_id"]
    if cases_are(rois) != GROUPS:
        return cases
    pairs = zip(cases.tolist(), rois.index["lesion_id"].tolist(), strict=True)
    return np.array([f"{case}/{lesion}" for case, lesion in pairs], object)
