"""Permute the labels of the auxiliary collections: a control without the meaning of the labels.

The images, the numbers of malignant and benign cases and the steps of training remain.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from mtl_jax.config import PERMUTED_LABELS, has_option
from mtl_jax.data.folds import Stream, case_labels
from mtl_jax.experiments.splits import Split
from mtl_jax.types import InputError, RoiSet, Run


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
    permuted = permuted_case_labels(run, collections, split)
    if permuted and all(len(set(by_case.values())) < 2 for by_case in permuted.values()):
        raise InputError(
            f"run {run.id}: all training cases of {', '.join(permuted)} are of one class, so that"
            f" permuting their labels changes nothing; remove {run.approach!r} from"
            " config.approaches"
        )
    for task, by_case in permuted.items():
        cases = collections[task].index["case_id"][rows[task]]
        labels[task] = np.array([by_case[str(case)] for case in cases], int)
    return labels


def permuted_case_labels(
    run: Run, collections: Mapping[str, RoiSet], split: Split
) -> dict[str, dict[str, int]]:
    """Return {collection: {case: label}} of the collections whose labels a run permutes.

    The labels of the cases, 1 if any lesion is malignant, are permuted among the cases that are in
    no test set. The permutation depends on the seed, the initialization and the collection alone,
    so that a case has the same label in every fold.
    """
    return {
        name: _permute(collections[name], split.excluded_cases(name), run)
        for name in permuted_tasks(run.approach, run.tasks)
    }


def _permute(rois: RoiSet, excluded: set[str], run: Run) -> dict[str, int]:
    by_case = case_labels(rois.index["case_id"], rois.index["label"])
    by_case = {case: label for case, label in by_case.items() if case not in excluded}
    stream = (Stream.LABELS, run.initialization, zlib.crc32(rois.name.encode()))
    rng = np.random.default_rng(np.random.SeedSequence(run.seed, spawn_key=stream))
    return dict(zip(by_case, rng.permutation(list(by_case.values())).tolist(), strict=True))
