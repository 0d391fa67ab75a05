"""Compute the tables of AUCs and differences of a stage from the scores of its runs."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.config import UNITS
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc, mean_difference
from mtl_jax.experiments.scores import Scores, aggregate
from mtl_jax.types import Run

POOLED, ONE_FOLD = "pooled over folds", "one fold"  # secondary estimators


class Condition(NamedTuple):
    """The settings shared by runs that differ only in fold and initialization."""

    approach: str
    network: str
    split: int
    target_cases: int | None


def group_by_condition(runs: Sequence[Run]) -> dict[Condition, list[Run]]:
    groups: dict[Condition, list[Run]] = {}
    for run in runs:
        key = Condition(run.approach, run.network, run.split, run.target_cases)
        groups.setdefault(key, []).append(run)
    return groups


def estimator_name(runs: Sequence[Run]) -> str:
    """Return the name of the estimator for the runs of one condition."""
    several = len({run.initialization for run in runs}) > 1
    if runs[0].fold is None:
        return "mean over initializations" if several else "test set"
    return "mean over folds" + (" and initializations" if several else "")


def is_crossed(a: Sequence[Run], b: Sequence[Run]) -> bool:
    """Return whether a and b have the same initializations.

    Initialization r of both then starts new layers of equal shape from the same weights. Layers of
    different shape (the output layer of heads=per_task) start independently; the pairing
    stays valid, with a lower correlation.
    """
    return {run.initialization for run in a} == {run.initialization for run in b}


def auc_rows(
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    task: str,
    methods: Sequence[str] = ("empirical",),
) -> list[dict[str, Any]]:
    """Return the mean AUC on `task` over folds and initializations, a row for each condition, unit
    and method. Units for which a fold has a single class are left out."""
    return [
        row_labels(condition_runs, task, unit, method) | mean_auc(folds, method)
        for condition_runs in group_by_condition(runs).values()
        for unit in UNITS
        for folds in [fold_scores(condition_runs, tables, task, unit)]
        if has_both_classes(folds)
        for method in methods
    ]


def condition_differences(
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    task: str,
    pairs: Sequence[tuple[Condition, Condition]],
) -> list[dict[str, Any]]:
    """Return the difference of the mean AUCs, a row for each pair of conditions and unit."""
    groups = group_by_condition(runs)
    return [
        {
            "a": a.approach,
            "b": b.approach,
            "network_a": a.network,
            "network_b": b.network,
            "target_cases": a.target_cases,
            "task": task,
            "unit": unit,
            "method": "obuchowski",
            "estimator": estimator_name(groups[a]),
        }
        | mean_difference(
            *(fold_scores(groups[condition], tables, task, unit) for condition in (a, b)),
            crossed=is_crossed(groups[a], groups[b]),
        )
        for a, b in pairs
        for unit in UNITS
    ]


def score_difference(
    runs: Sequence[Run],
    first: Mapping[str, Scores],
    second: Mapping[str, Scores],
    task: str,
    unit: str,
) -> dict[str, Any]:
    """Return the mean AUC of `runs` with the scores `first` minus that with `second`."""
    return mean_difference(*(fold_scores(runs, tables, task, unit) for tables in (first, second)))


def row_labels(runs: Sequence[Run], task: str, unit: str, method: str) -> dict[str, Any]:
    """Return the columns of a row that identify it."""
    run, initializations = runs[0], sorted({run.initialization for run in runs})
    cases = "test" if run.fold is None else f"mean of {len({run.fold for run in runs})} folds"
    if len(initializations) > 1 and (run.fold is not None or run.target_cases is not None):
        cases += f", {len(initializations)} initializations"
    return {
        "study": run.approach,
        "task": task,
        "cases": cases,
        "unit": unit,
        "method": method,
        "estimator": estimator_name(runs),
        "network": run.network,
        "split": None if run.fold is None else run.split,
        "target_cases": run.target_cases,
        "initializations": initializations,
    }


def fold_scores(
    runs: Sequence[Run], tables: Mapping[str, Scores], task: str, unit: str
) -> list[FoldScores]:
    """Return the scores of each fold, in the order of the initializations."""
    return [_make_fold_scores(scores, unit) for scores in _by_fold(runs, tables, task).values()]


def pooled_scores(
    runs: Sequence[Run], tables: Mapping[str, Scores], task: str, unit: str
) -> list[FoldScores]:
    """Return the scores pooled over folds as one fold; it ranks the scores of different models."""
    folds = _by_fold(runs, tables, task).values()
    pooled = [score_tables.concatenate(scores) for scores in zip(*folds, strict=True)]
    return [_make_fold_scores(pooled, unit)]


def has_both_classes(folds: Sequence[FoldScores]) -> bool:
    return all(len(np.unique(fold.label)) == 2 for fold in folds)


def _by_fold(
    runs: Sequence[Run], tables: Mapping[str, Scores], task: str
) -> dict[int | None, list[Scores]]:
    """Return the scores of each initialization by fold, sorted by roi_id."""
    scores: dict[int | None, list[Scores]] = {}
    for run in sorted(runs, key=attrgetter("initialization")):
        scores.setdefault(run.fold, []).append(_sorted_rows(tables[run.id], task))
    return {fold: scores[fold] for fold in sorted(scores, key=lambda fold: fold or 0)}


def _make_fold_scores(tables: Sequence[Scores], unit: str) -> FoldScores:
    """Return the scores of one fold from those of each initialization."""
    if not all(np.array_equal(table.roi_id, tables[0].roi_id) for table in tables):
        raise ValueError("the initializations of a fold have scores of different ROIs")
    label, _, patient = aggregate(tables[0], unit)
    return FoldScores(label, patient, np.array([aggregate(table, unit)[1] for table in tables]))


def _sorted_rows(scores: Scores, task: str) -> Scores:
    scores = scores.select_rows(scores.task == task)
    return scores.select_rows(np.argsort(scores.roi_id, kind="stable"))
