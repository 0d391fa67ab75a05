"""Evaluate and compare the approaches of a stage (cross-validation or the test set)."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from mtl_jax import roc
from mtl_jax.config import UNITS
from mtl_jax.experiments import stage_tables
from mtl_jax.experiments.auc_statistics import (
    FoldScores,
    clear_fit_cache,
    mean_auc,
    mean_difference,
)
from mtl_jax.experiments.primary_comparison import Primary
from mtl_jax.experiments.scores import Scores
from mtl_jax.experiments.stage_tables import ONE_FOLD, POOLED
from mtl_jax.types import Run

Row = dict[str, Any]
METHODS = ("empirical", "proper")
TESTS = ("obuchowski", "proper", "bootstrap")
CONDITIONS = ("network", "split", "target_cases")  # columns that are equal in all rows of a stage


class EvaluationRules(NamedTuple):
    """How a study is evaluated: the unit (view or lesion) whose AUCs choose split and network, the
    primary comparison, number and seed of the bootstrap samples, and the fraction of the training
    patients that only decided when to stop."""

    selection_unit: str
    primary: Primary
    samples: int
    seed: int
    inner_fraction: float = 0.0


def evaluate(
    stage: str,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    target: str,
    rules: EvaluationRules,
    selected: bool = False,
) -> dict[str, list[Row]]:
    """Return the AUCs of each approach and the paired comparisons of all approaches.

    The main estimator is the mean over folds and initializations; AUCs pooled over folds and AUCs
    of single folds are secondary. `tables` holds the scores by run id. `selected`: the split or the
    network was chosen by scores of the same cases, so that the AUCs are optimistic and no
    comparison is primary.
    """
    groups = _group_by_approach(runs)
    rows = [
        row
        for approach_runs in groups.values()
        for task in _tasks(approach_runs, tables)
        for row in _auc_rows(approach_runs, tables, task)
    ]
    rows = order_rows(rows, target)
    comparisons = []
    for a, b in combinations(groups, 2):
        pair = (b, a) if rules.primary.pair == (b, a) else (a, b)
        for task in _tasks(groups[pair[0]], tables):
            if task in _tasks(groups[pair[1]], tables):
                comparisons += _comparison_rows(groups, pair, tables, task, rules)
    primary = rules.primary.apply_fallback(rows)
    for row in rows:
        row["selected"] = selected
        row["primary"] = not selected and (
            row["task"] == target
            and row["estimator"] not in (POOLED, ONE_FOLD)
            and (row["unit"], row["method"]) == (primary.unit, primary.method)
            and row["study"] in (primary.pair or ())
        )
    for row in comparisons:
        row["selected"] = selected
        row["primary"] = not selected and _is_primary(row, primary, target)
        if row["primary"] and primary.test != rules.primary.test:
            row["declared_test"] = rules.primary.test
    # The primary comparison first, then those on the target, means before pooled AUCs.
    comparisons.sort(
        key=lambda row: (not row["primary"], row["task"] != target, row["estimator"] == POOLED)
    )
    clear_fit_cache()
    return {"auc": rows, "comparisons": adjust_families(comparisons, stage)}


def evaluate_conventional(
    stage: str,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    conventional: Mapping[str, Scores],
    target: str,
    rules: EvaluationRules,
    selected: bool = False,
) -> dict[str, list[Row]]:
    """Return the AUCs of conventional CAD on the target, and the differences between the approaches
    that are tested on it and the classifiers; all are secondary."""
    groups = _group_by_approach([run for run in runs if run.tasks[0] == target])
    # The classifiers have one initialization, and the same folds as every approach.
    fold_runs = next(iter(groups.values()), [])
    first = min((run.initialization for run in fold_runs), default=0)
    fold_runs = [run for run in fold_runs if run.initialization == first]
    rows, comparisons = [], []
    for name, scores in conventional.items():
        fold_tables = {run.id: _matching_rows(scores, tables[run.id], target) for run in fold_runs}
        if fold_runs:
            auc_rows = stage_tables.auc_rows(fold_runs, fold_tables, target, METHODS)
            rows += [_drop_conditions(row | {"study": name}) for row in auc_rows]
        for approach, approach_runs in groups.items():
            for unit in UNITS:
                comparisons += _test_rows(
                    {"a": approach, "b": name, "task": target, "unit": unit},
                    stage_tables.fold_scores(approach_runs, tables, target, unit),
                    stage_tables.fold_scores(fold_runs, fold_tables, target, unit),
                    stage_tables.estimator_name(approach_runs),
                    TESTS,
                    False,
                    rules,
                )
    clear_fit_cache()
    for row in (*rows, *comparisons):
        row |= {"primary": False, "selected": selected}
    return {
        "auc": order_rows(rows, target),
        "comparisons": adjust_families(comparisons, f"{stage}, conventional CAD"),
    }


def order_rows(rows: list[Row], target: str) -> list[Row]:
    """Return `rows` with those of the target first, and main estimators before those pooled over
    folds and of single folds.

    The first row on the target of each approach, unit and method has `headline` true, unless it is
    a proper fit that cannot be reported (`roc.may_headline`).
    """
    rank = {POOLED: 1, ONE_FOLD: 2}
    rows = sorted(rows, key=lambda row: (row["task"] != target, rank.get(row["estimator"], 0)))
    empirical = {_row_key(row): row["auc"] for row in rows if row["method"] == "empirical"}
    seen = set()
    for row in rows:
        key = (row["study"], row["unit"], row["method"])
        reportable = row["method"] != "proper" or roc.may_headline(
            row["status"], empirical[_row_key(row)]
        )
        row["headline"] = key not in seen and row["task"] == target and reportable
        seen.add(key)
    return rows


def adjust_families(comparisons: list[Row], stage: str) -> list[Row]:
    """Add the p-values of secondary comparisons adjusted by Holm within their family.

    A family has the comparisons of one stage, unit, method and estimator whose status is ok.
    `p_holm` is None in a family of one.
    """
    families: dict[str, list[Row]] = {}
    for row in comparisons:
        row["family"] = f"{stage}, {row['unit']}, {row['method']}, {row['estimator']}"
        row["p_holm"] = None
        if not row["primary"] and row["p_value"] is not None and row["status"] == "ok":
            families.setdefault(row["family"], []).append(row)
    for family in families.values():
        if len(family) > 1:
            adjusted = roc.holm([row["p_value"] for row in family]).tolist()
            for row, p in zip(family, adjusted, strict=True):
                row["p_holm"] = p
    return comparisons


def _is_primary(row: Row, primary: Primary, target: str) -> bool:
    return (
        (row["a"], row["b"]) == primary.pair
        and (row["unit"], row["method"], row["task"]) == (primary.unit, primary.test, target)
        and row["estimator"] != POOLED
    )


def _auc_rows(runs: Sequence[Run], tables: Mapping[str, Scores], task: str) -> list[Row]:
    """Return the AUCs of one approach on one collection, the main estimator first."""
    rows = [_drop_conditions(row) for row in stage_tables.auc_rows(runs, tables, task, METHODS)]
    if runs[0].fold is None:
        return rows
    for unit in UNITS:
        pooled = stage_tables.pooled_scores(runs, tables, task, unit)
        rows += _secondary_rows(runs, task, unit, "pooled", POOLED, pooled)
        for number, fold in enumerate(stage_tables.fold_scores(runs, tables, task, unit)):
            rows += _secondary_rows(runs, task, unit, f"fold {number + 1}", ONE_FOLD, [fold])
    return rows


def _secondary_rows(
    runs: Sequence[Run], task: str, unit: str, cases: str, estimator: str, folds: list[FoldScores]
) -> list[Row]:
    if not stage_tables.has_both_classes(folds):
        return []
    labels = {"cases": cases, "estimator": estimator}
    return [
        _drop_conditions(
            stage_tables.row_labels(runs, task, unit, method) | labels | mean_auc(folds, method)
        )
        for method in METHODS
    ]


def _comparison_rows(
    groups: Mapping[str, Sequence[Run]],
    pair: tuple[str, str],
    tables: Mapping[str, Scores],
    task: str,
    rules: EvaluationRules,
) -> list[Row]:
    """Compare the main estimators of a pair by all tests, pooled AUCs by Obuchowski's."""
    a, b = pair_runs = [groups[approach] for approach in pair]
    roi_ids = [
        {roi for run in runs for t in [tables[run.id]] for roi in t.roi_id[t.task == task]}
        for runs in pair_runs
    ]
    if roi_ids[0] != roi_ids[1]:
        raise ValueError(f"{pair[0]} and {pair[1]} have scores of different ROIs of {task}")
    rows = []
    crossed = stage_tables.is_crossed(a, b)
    for unit in UNITS:
        labels = {"a": pair[0], "b": pair[1], "task": task, "unit": unit}
        folds = [stage_tables.fold_scores(runs, tables, task, unit) for runs in pair_runs]
        if stage_tables.has_both_classes(folds[0]):
            estimator = stage_tables.estimator_name(a)
            rows += _test_rows(labels, *folds, estimator, TESTS, crossed, rules)
        if a[0].fold is not None:
            pooled = [stage_tables.pooled_scores(runs, tables, task, unit) for runs in pair_runs]
            rows += _test_rows(labels, *pooled, POOLED, TESTS[:1], crossed, rules)
    return rows


def _test_rows(
    labels: Row,
    a: Sequence[FoldScores],
    b: Sequence[FoldScores],
    estimator: str,
    methods: Sequence[str],
    crossed: bool,
    rules: EvaluationRules,
) -> list[Row]:
    return [
        labels
        | {"method": method, "estimator": estimator}
        | mean_difference(a, b, method, crossed, rules.samples, rules.seed)
        for method in methods
    ]


def _group_by_approach(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.approach, []).append(run)
    return groups


def _tasks(runs: Sequence[Run], tables: Mapping[str, Scores]) -> list[str]:
    """Return the collections that the runs have scored."""
    return list(dict.fromkeys(task for run in runs for task in tables[run.id].task.tolist()))


def _matching_rows(scores: Scores, reference: Scores, task: str) -> Scores:
    """Return the rows of `scores` whose ROIs are in the rows of `reference` for this collection."""
    roi_ids = reference.roi_id[reference.task == task]
    return scores.select_rows(np.isin(scores.roi_id, roi_ids))


def _drop_conditions(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in CONDITIONS}


def _row_key(row: Row) -> tuple[str, ...]:
    return tuple(row[key] for key in ("study", "task", "cases", "unit"))
