"""Draw the inner set of a run: training patients who only decide when to stop."""

from collections.abc import Mapping

import numpy as np

from mtl_jax.data import folds, patients
from mtl_jax.types import InputError, RoiSet, Run

RowsByTask = Mapping[str, np.ndarray]


def draw_inner(
    run: Run,
    training: RowsByTask,
    collections: Mapping[str, RoiSet],
    fraction: float,
    split_seed: int,
) -> tuple[RowsByTask, RowsByTask]:
    """Return the rows of `training` to train on, and those of the inner set; of each task.

    The inner set has `fraction` of the patients of the first task, stratified by class, and only
    ROIs of that task. Their ROIs in the other tasks are left out, so that no patient is on both
    sides. The draw depends on the split seed and on the partition and fold of the run alone.
    Raises InputError if a class has fewer than two patients.
    """
    nothing = {task: rows[:0] for task, rows in training.items()}
    if not fraction:
        return training, nothing
    first, *others = run.tasks
    if run.task_weights and not run.task_weights[0]:
        raise InputError(
            f"run {run.id} does not learn from {first}, so that its cases cannot decide when to"
            " stop: remove the approach, or set config.train.early_stopping.fraction to 0"
        )
    case_of_row = {
        task: collections[task].index["case_id"][rows] for task, rows in training.items()
    }
    patient_of_case = patients.patient_of_case(collections[first])
    # Without a table of patients each case is one, named as in `patients.cases_of_patients`.
    patient = [patient_of_case.get(case, f"{first}\0{case}") for case in case_of_row[first]]
    labels = folds.case_labels(patient, collections[first].index["label"][training[first]])
    number = 0 if run.fold is None else 1000 * run.split + run.fold + 1
    chosen = set(folds.inner_set(labels, fraction, split_seed, number, first))
    is_inner = {first: np.array([p in chosen for p in patient])}
    for task in others:
        cases = patients.cases_of_patients(collections[task], chosen)
        is_inner[task] = np.array([case in cases for case in case_of_row[task]], bool)
    remaining = {task: rows[~is_inner[task]] for task, rows in training.items()}
    return remaining, nothing | {first: training[first][is_inner[first]]}


def reject_empty(run: Run, training: RowsByTask) -> None:
    """Raise InputError if the inner set leaves no training ROI of a task."""
    for task, rows in training.items():
        if not len(rows):
            raise InputError(
                f"run {run.id}: all training ROIs of {task} are of patients of the inner set; lower"
                " config.train.early_stopping.fraction, or remove the collection"
            )
