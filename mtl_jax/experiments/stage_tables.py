"""Rows of the tables of a stage, from the scores of its runs. All statistics are in `means`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.config import UNITS
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc, mean_difference
from mtl_jax.experiments.scores import Scores, aggregate
from mtl_jax.types import Run

POOLED, ONE_FOLD = "pooled over folds", "one fold"  # estimators that are never the headline


class Condition(NamedTuple):
    """What the runs that differ in fold and initialization alone have in common."""

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
    """Name what is estimated from the runs of one condition."""
    several = len({run.initialization for run in runs}) > 1
    if runs[0].fold is None:
        return "mean over initializations" if several else "test set"
    return "mean over folds" + (" and initializations" if several else "")


def is_crossed(a: Sequence[Run], b: Sequence[Run]) -> bool:
    """Return whether initializations are crossed: both have the same ones, and initialization r of
    both starts every new layer that has one shape in both from the same weights. Layers whose
    shapes differ (the output layer of heads=per_task) start on their own, which leaves the pairs
    valid."""
    return len({frozenset(run.initialization for run in own) for own in (a, b)}) == 1


def auc_rows(
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    task: str,
    methods: Sequence[str] = ("empirical",),
) -> list[dict[str, Any]]:
    """Return a row for each condition, unit and method: the mean AUC on `task` over folds and
    initializations; none where its cases are of one class."""
    return [
        row_labels(own, task, unit, method) | mean_auc(parts, method)
        for own in group_by_condition(runs).values()
        for unit in UNITS
        for parts in [fold_scores(own, tables, task, unit)]
        if has_both_classes(parts)
        for method in methods
    ]


def condition_differences(
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    task: str,
    pairs: Sequence[tuple[Condition, Condition]],
) -> list[dict[str, Any]]:
    """Return a row for each pair of conditions and unit: the first's mean AUC minus the
    second's."""
    groups = group_by_condition(runs)
    rows = []
    for a, b in pairs:
        for unit in UNITS:
            first, second = (fold_scores(groups[one], tables, task, unit) for one in (a, b))
            rows.append(
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
                    **mean_difference(first, second, crossed=is_crossed(groups[a], groups[b])),
                }
            )
    return rows


def score_difference(
    runs: Sequence[Run],
    first: Mapping[str, Scores],
    second: Mapping[str, Scores],
    task: str,
    unit: str,
) -> dict[str, Any]:
    """Return the mean AUC of the same runs by the scores of `first` minus that by `second`."""
    return mean_difference(*(fold_scores(runs, own, task, unit) for own in (first, second)))


def row_labels(runs: Sequence[Run], task: str, unit: str, method: str) -> dict[str, Any]:
    """Return what a row says of where it comes from."""
    run, starts = runs[0], sorted({run.initialization for run in runs})
    folds = {run.fold for run in runs}
    over = "test" if run.fold is None else f"mean of {len(folds)} folds"
    many = len(starts) > 1 and (run.fold is not None or run.target_cases is not None)
    return {
        "study": run.approach,
        "task": task,
        "cases": over + (f", {len(starts)} initializations" if many else ""),
        "unit": unit,
        "method": method,
        "estimator": estimator_name(runs),
        "network": run.network,
        "split": None if run.fold is None else run.split,
        "target_cases": run.target_cases,
        "initializations": starts,
    }


def fold_scores(
    runs: Sequence[Run], tables: Mapping[str, Scores], task: str, unit: str
) -> list[FoldScores]:
    """Return one Part a fold, its scores in the order of the initializations."""
    return [_make_fold_scores(own, unit) for own in _by_fold(runs, tables, task).values()]


def pooled_scores(
    runs: Sequence[Run], tables: Mapping[str, Scores], task: str, unit: str
) -> list[FoldScores]:
    """Return the folds put together within each initialization, as one Part: scores of different
    networks are ranked against each other."""
    folds = _by_fold(runs, tables, task).values()
    return [
        _make_fold_scores([score_tables.concatenate(own) for own in zip(*folds, strict=True)], unit)
    ]


def has_both_classes(parts: Sequence[FoldScores]) -> bool:
    return all(len(np.unique(part.label)) == 2 for part in parts)


def _by_fold(
    runs: Sequence[Run], tables: Mapping[str, Scores], task: str
) -> dict[int | None, list[Scores]]:
    """Score of each initialization by fold, sorted by roi_id."""
    found: dict[int | None, list[Scores]] = {}
    for run in sorted(runs, key=_initialization):
        found.setdefault(run.fold, []).append(_sorted_rows(tables[run.id], task))
    return {fold: found[fold] for fold in sorted(found, key=lambda fold: fold or 0)}


def _make_fold_scores(scored: Sequence[Scores], unit: str) -> FoldScores:
    for other in scored[1:]:
        if not np.array_equal(other.roi_id, scored[0].roi_id):
            raise ValueError("two initializations of one fold have scored different ROIs")
    label, _, patient = aggregate(scored[0], unit)
    return FoldScores(label, patient, np.array([aggregate(own, unit)[1] for own in scored]))


def _sorted_rows(scores: Scores, task: str) -> Scores:
    scores = scores.of(scores.task == task)
    return scores.of(np.argsort(scores.roi_id, kind="stable"))


def _initialization(run: Run) -> int:
    return run.initialization
