"""AUCs and comparisons of the approaches in cross-validation or on the test set, from the scores of
their runs. All statistics are those of `means` and `mtl_jax.roc`."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from mtl_jax import roc
from mtl_jax.config import UNITS
from mtl_jax.experiments import stage_tables as stage_tables
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
CONDITIONS = ("network", "split", "target_cases")  # the same for all runs of the stage


class EvaluationRules(NamedTuple):
    """What the statistics of a study go by: the unit that chooses split and network, the primary
    analysis, and number and seed of the resamples of the bootstrap."""

    selection_unit: str
    primary: Primary
    samples: int
    seed: int


def evaluate(
    stage: str,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    target: str,
    rules: EvaluationRules,
    selected: bool = False,
) -> dict[str, list[Row]]:
    """Return AUCs of each approach, those of all its cases first, and paired comparisons of each
    two.

    The estimator is the mean over folds and initializations; AUCs of scores pooled over folds, and
    of single folds, follow as secondary rows. `selected`: the stage's split and network were chosen
    by scores of the same cases, so that its AUCs are optimistic and no comparison is primary.
    """
    groups = _group_by_approach(runs)
    rows = [
        row
        for own in groups.values()
        for task in _tasks(own, tables)
        for row in _auc_rows(own, tables, task)
    ]
    rows = order_rows(rows, target)
    primary = None if selected else rules.primary
    tests = []
    for a, b in combinations(groups, 2):
        if rules.primary.pair == (b, a):
            a, b = b, a
        for task in _tasks(groups[a], tables):
            if task in _tasks(groups[b], tables):
                tests += _comparison_rows(groups, a, b, tables, task, rules)
    if primary is not None and primary.barred(rows):
        primary = primary.fallback()
    for row in rows:
        row["selected"] = selected
        row["primary"] = primary is not None and (
            row["task"] == target
            and row["estimator"] not in (POOLED, ONE_FOLD)
            and (row["unit"], row["method"]) == (primary.unit, primary.method)
            and row["study"] in (primary.pair or ())
        )
    for row in tests:
        row["selected"] = selected
        row["primary"] = primary is not None and is_primary(row, primary, target)
        if row["primary"] and primary.test != rules.primary.test:
            row["declared_test"] = rules.primary.test
    clear_fit_cache()
    return {"auc": rows, "comparisons": adjust_families(_order_tests(tests, target), stage)}


def is_primary(row: Mapping[str, Any], primary: Primary, target: str) -> bool:
    """Return whether a comparison is the declared one."""
    return (
        (row["a"], row["b"]) == primary.pair
        and (row["unit"], row["method"], row["task"]) == (primary.unit, primary.test, target)
        and row["estimator"] != POOLED
    )


def evaluate_conventional(
    stage: str,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    conventional: Mapping[str, Scores],
    target: str,
    rules: EvaluationRules,
    selected: bool = False,
) -> dict[str, list[Row]]:
    """Return AUCs of conventional CAD on the target, and each approach that is tested on it minus
    each of its classifiers, all secondary."""
    groups = {a: own for a, own in _group_by_approach(runs).items() if own[0].tasks[0] == target}
    own = next(iter(groups.values()), [])
    one_each = [run for run in own if run.initialization == min(r.initialization for r in own)]
    rows, tests = [], []
    for name, scores in conventional.items():
        read = {run.id: _matching_rows(scores, tables[run.id], target) for run in one_each}
        aucs = stage_tables.auc_rows(one_each, read, target, METHODS) if own else []
        rows += [_drop_conditions(row | {"study": name}) for row in aucs]
        for approach, theirs in groups.items():
            for unit in UNITS:
                first = stage_tables.fold_scores(theirs, tables, target, unit)
                second = stage_tables.fold_scores(one_each, read, target, unit)
                kind = stage_tables.estimator_name(theirs)
                head = {"a": approach, "b": name, "task": target, "unit": unit}
                tests += _test_rows(head, first, second, kind, TESTS, False, rules)
    clear_fit_cache()
    for row in (*rows, *tests):
        row |= {"primary": False, "selected": selected}
    return {
        "auc": order_rows(rows, target),
        "comparisons": adjust_families(tests, f"{stage}, conventional CAD"),
    }


def order_rows(rows: list[Row], target: str) -> list[Row]:
    """Return `rows` with the target's first and, of each collection, the main estimator before
    those pooled over folds and of single folds; each marked whether it is the headline of its
    approach, unit and method: the first such row, and of a proper fit only one that may be."""
    rank = {POOLED: 1, ONE_FOLD: 2}
    rows = sorted(rows, key=lambda r: (r["task"] != target, rank.get(r["estimator"], 0)))
    empirical = {_row_key(row): row["auc"] for row in rows if row["method"] == "empirical"}
    seen = set()
    for row in rows:
        key = (row["study"], row["unit"], row["method"])
        fits = row["method"] != "proper" or roc.may_headline(
            row["status"], empirical[_row_key(row)]
        )
        row["headline"] = key not in seen and row["task"] == target and fits
        seen.add(key)
    return rows


def adjust_families(tests: list[Row], stage: str) -> list[Row]:
    """Return `tests` with the p-values of the secondary ones adjusted by Holm within their family:
    the comparisons of one stage, unit, method and estimator whose status is ok. A family of one has
    nothing to adjust, and its `p_holm` is None."""
    families: dict[str, list[Row]] = {}
    for row in tests:
        row["family"] = f"{stage}, {row['unit']}, {row['method']}, {row['estimator']}"
        row["p_holm"] = None
        if not row["primary"] and row["p_value"] is not None and row["status"] == "ok":
            families.setdefault(row["family"], []).append(row)
    for members in (family for family in families.values() if len(family) > 1):
        adjusted = roc.holm([row["p_value"] for row in members]).tolist()
        for row, p in zip(members, adjusted, strict=True):
            row["p_holm"] = p
    return tests


def _auc_rows(runs: Sequence[Run], tables: Mapping[str, Scores], task: str) -> list[Row]:
    rows = [_drop_conditions(row) for row in stage_tables.auc_rows(runs, tables, task, METHODS)]
    if runs[0].fold is None:
        return rows
    for unit in UNITS:
        pooled = stage_tables.pooled_scores(runs, tables, task, unit)
        rows += _secondary_rows(runs, task, unit, "pooled", POOLED, pooled)
        for number, part in enumerate(stage_tables.fold_scores(runs, tables, task, unit)):
            rows += _secondary_rows(runs, task, unit, f"fold {number + 1}", ONE_FOLD, [part])
    return rows


def _secondary_rows(
    runs: Sequence[Run], task: str, unit: str, cases: str, kind: str, parts: list[FoldScores]
) -> list[Row]:
    if not stage_tables.has_both_classes(parts):
        return []
    named = {"cases": cases, "estimator": kind}
    return [
        _drop_conditions(
            stage_tables.row_labels(runs, task, unit, method) | named | mean_auc(parts, method)
        )
        for method in METHODS
    ]


def _comparison_rows(
    groups: Mapping[str, Sequence[Run]],
    a: str,
    b: str,
    tables: Mapping[str, Scores],
    task: str,
    rules: EvaluationRules,
) -> list[Row]:
    """Return one pair of approaches on one collection: the main estimator by all tests, then the
    pooled AUCs by Obuchowski's."""
    rows = []
    _reject_different_rois(groups[a], groups[b], tables, task)
    crossed = stage_tables.is_crossed(groups[a], groups[b])
    kind = stage_tables.estimator_name(groups[a])
    for unit in UNITS:
        head = {"a": a, "b": b, "task": task, "unit": unit}
        parts = [stage_tables.fold_scores(groups[one], tables, task, unit) for one in (a, b)]
        if stage_tables.has_both_classes(parts[0]):
            rows += _test_rows(head, *parts, kind, TESTS, crossed, rules)
        if groups[a][0].fold is not None:
            parts = [stage_tables.pooled_scores(groups[one], tables, task, unit) for one in (a, b)]
            rows += _test_rows(head, *parts, POOLED, TESTS[:1], crossed, rules)
    return rows


def _test_rows(
    head: Row,
    a: Sequence[FoldScores],
    b: Sequence[FoldScores],
    kind: str,
    methods: Sequence[str],
    crossed: bool,
    rules: EvaluationRules,
) -> list[Row]:
    return [
        head
        | {"method": method, "estimator": kind}
        | mean_difference(a, b, method, crossed, rules.samples, rules.seed)
        for method in methods
    ]


def _order_tests(tests: list[Row], target: str) -> list[Row]:
    """Return the primary comparison first, then the target's, means before pooled."""
    return sorted(
        tests, key=lambda r: (not r["primary"], r["task"] != target, r["estimator"] == POOLED)
    )


def _group_by_approach(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.approach, []).append(run)
    return groups


def _tasks(runs: Sequence[Run], tables: Mapping[str, Scores]) -> list[str]:
    """Return the collections that the runs have scored."""
    return list(dict.fromkeys(task for run in runs for task in tables[run.id].task.tolist()))


def _reject_different_rois(
    a: Sequence[Run], b: Sequence[Run], tables: Mapping[str, Scores], task: str
) -> None:
    ids = [
        sorted({roi for run in own for t in [tables[run.id]] for roi in t.roi_id[t.task == task]})
        for own in (a, b)
    ]
    if ids[0] != ids[1]:
        raise ValueError(f"{a[0].approach} and {b[0].approach} scored different ROIs of {task}")


def _matching_rows(scores: Scores, like: Scores, task: str) -> Scores:
    """Return the rows of `scores` that `like` has of this collection."""
    return scores.of(np.isin(scores.roi_id, like.roi_id[like.task == task]))


def _drop_conditions(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in CONDITIONS}


def _row_key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[key] for key in ("study", "task", "cases", "unit"))
