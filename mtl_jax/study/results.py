"""From the scores of all runs to results.json. All statistics are those of `mtl_jax.roc`."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mtl_jax import roc
from mtl_jax.config import UNITS
from mtl_jax.data import patients, shards
from mtl_jax.nouns import RoiSet, Run
from mtl_jax.study import scores as score_tables
from mtl_jax.study.scores import Scores, by_unit
from mtl_jax.study.select import choose_network, choose_split
from mtl_jax.study.splits import Split
from mtl_jax.study.tables import Condition, area_rows, conditions, difference_rows

TABULATED = ("splits", "depth", "learning_curve")  # stages whose rows are means over folds, seeds


def summarize(
    study: str,
    stages: Mapping[str, Sequence[Run]],
    tables: Mapping[str, Scores],
    records: Mapping[str, Mapping[str, Any]],
    collections: Mapping[str, RoiSet],
    split: Split,
    weights_card: Mapping[str, Any],
    conventional: Mapping[str, Scores],
    unit: str,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Everything that the report says, from each run's scores and record (by run id) and the runs
    of each stage, in order.

    `conventional` holds the scores of conventional CAD, by classifier, on the target's regions that
    the last stage scored, or nothing. `unit` is that of the areas that choose; `samples` and `seed`
    are those of the bootstrap over patients.
    """
    out: dict[str, Any] = {
        "study": study,
        "target": split.target,
        "split": {"rule": split.rule, "train": len(split.train), "test": len(split.test)},
        "collections": [
            _describe(rois, name in split.official_learned) for name, rois in collections.items()
        ],
        "weights": dict(weights_card),
        "stages": [
            {"stage": stage, "runs": [run.id for run in runs]} for stage, runs in stages.items()
        ],
        "runs": list(records.values()),
        "selection": {},
    }
    for stage, runs in stages.items():
        if stage in TABULATED:
            out[stage] = area_rows(runs, tables, split.target)
            out["selection"] |= choose(stage, out[stage], unit)
    stage, runs = list(stages.items())[-1]
    if stage in TABULATED:
        pairs = _pairs(stage, runs, out["selection"])
        differences = difference_rows(runs, tables, split.target, pairs)
        return out | {"auc": out[stage], "comparisons": differences}
    out |= pooled(runs, tables, split.target, samples, seed)
    if conventional:
        out["conventional"] = beside(runs, tables, conventional, split.target, samples, seed)
    return out


def choose(stage: str, rows: Sequence[Mapping[str, Any]], unit: str) -> dict[str, Any]:
    """What a stage chooses from the rows of its table: an entry of results.json's `selection`."""
    rows = [row for row in rows if row["unit"] == unit]
    if stage == "splits":
        return {"split": {"unit": unit} | choose_split(rows)}
    if stage == "depth":
        return {"network": {"unit": unit} | choose_network(rows)}
    return {}


def _pairs(
    stage: str, runs: Sequence[Run], selection: Mapping[str, Any]
) -> list[tuple[Condition, Condition]]:
    """What is compared: in `depth` each network with the chosen one; in `learning_curve` each pair
    of approaches that learned as many cases."""
    found = list(conditions(runs))
    if stage == "depth":
        best = next(c for c in found if c.network == selection["network"]["chosen"])
        return [(best, other) for other in found if other != best]
    if stage == "learning_curve":
        return [(a, b) for a, b in combinations(found, 2) if a.target_cases == b.target_cases]
    return []


def pooled(
    runs: Sequence[Run], tables: Mapping[str, Scores], target: str, samples: int, seed: int
) -> dict[str, Any]:
    """Areas of each approach over all that its runs scored together, fold by fold as well, and the
    paired comparison of each two approaches."""
    together: dict[str, Scores] = {}
    areas: list[dict[str, Any]] = []
    for approach in dict.fromkeys(run.approach for run in runs):
        own = [run for run in runs if run.approach == approach]
        together[approach] = score_tables.join([tables[run.id] for run in own])
        if own[0].fold is not None:
            for run in own:
                cases = f"fold {run.fold + 1}"
                areas += _areas(approach, cases, tables[run.id], target, samples, seed)
        cases = "test" if own[0].fold is None else "pooled"
        for task in dict.fromkeys(together[approach].task.tolist()):
            areas += _areas(approach, cases, together[approach], task, samples, seed)
    return {"auc": areas, "comparisons": _comparisons(together, samples, seed)}


def beside(
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    conventional: Mapping[str, Scores],
    target: str,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Areas of conventional CAD on the target, and each approach that is tested on it less each of
    its classifiers."""
    cases = "test" if runs[0].fold is None else "pooled"
    entries = []
    for approach in dict.fromkeys(run.approach for run in runs if run.tasks[0] == target):
        own = score_tables.join([tables[run.id] for run in runs if run.approach == approach])
        for name, scores in conventional.items():
            entries += _comparisons({approach: own, name: scores}, samples, seed)
    areas = [_areas(name, cases, s, target, samples, seed) for name, s in conventional.items()]
    return {"auc": sum(areas, []), "comparisons": entries}


def _areas(
    approach: str, cases: str, scores: Scores, task: str, samples: int, seed: int
) -> list[dict[str, Any]]:
    """The area per view and per lesion; none where the cases are of one class."""
    scores = scores.of(scores.task == task)
    if len(set(scores.label.tolist())) < 2:
        return []
    entries = []
    for unit in UNITS:
        labels, values, case_ids = by_unit(scores, unit)
        common = {"study": approach, "task": task, "cases": cases, "unit": unit}
        counts = {
            "n_malignant": int(np.sum(labels == 1)),
            "n_benign": int(np.sum(labels == 0)),
            "n_cases": len(set(case_ids.tolist())),
        }
        area = roc.empirical(labels, values)
        resampled = roc.bootstrap(labels, values, case_ids, samples=samples, seed=seed)
        empirical = {
            "method": "empirical",
            "auc": area.auc,
            "se": area.se,
            "se_method": "DeLong",
            "ci_low": resampled.ci_low,
            "ci_high": resampled.ci_high,
            "ci_method": f"bootstrap over patients, {samples} samples",
            "se_bootstrap": resampled.se,
            "status": resampled.status,
        }
        fit = roc.proper(labels, values)
        proper = {
            "method": "proper",
            "auc": fit.auc,
            "se": fit.se,
            "se_method": fit.se_method,
            "ci_low": fit.ci_low,
            "ci_high": fit.ci_high,
            "ci_method": "the fit's standard error",
            "status": fit.status,
        }
        entries += [common | empirical | counts, common | proper | counts]
    return entries


def _comparisons(together: Mapping[str, Scores], samples: int, seed: int) -> list[dict[str, Any]]:
    """Each pair of approaches on the regions of each collection that both scored."""
    entries = []
    for a, b in combinations(together, 2):
        shared = [t for t in dict.fromkeys(together[a].task.tolist()) if t in together[b].task]
        for task in shared:
            left, right = (_sorted(together[name], task) for name in (a, b))
            if not np.array_equal(left.roi_id, right.roi_id):
                raise ValueError(f"{a} and {b} scored different regions of {task}")
            if len(set(left.label.tolist())) == 2:
                names = {"a": a, "b": b, "task": task}
                for unit in UNITS:
                    entries += [names | test for test in _tests(left, right, unit, samples, seed)]
    return entries


def _tests(left: Scores, right: Scores, unit: str, samples: int, seed: int) -> list[dict[str, Any]]:
    """One difference by three methods."""
    labels, first, case_ids = by_unit(left, unit)
    second = by_unit(right, unit)[1]
    entries = []
    for method in ("proper", "obuchowski", "bootstrap"):
        drawn = {"samples": samples, "seed": seed} if method == "bootstrap" else {}
        test = roc.compare(labels, first, second, method=method, clusters=case_ids, **drawn)
        kept = ("auc_a", "auc_b", "delta", "se", "p_value", "ci_low", "ci_high", "status")
        entries.append({"unit": unit, "method": method} | {k: getattr(test, k) for k in kept})
    return entries


def _sorted(scores: Scores, task: str) -> Scores:
    scores = scores.of(scores.task == task)
    return scores.of(np.argsort(scores.roi_id, kind="stable"))


def _describe(rois: RoiSet, official_learned: bool) -> dict[str, Any]:
    """Counts of one collection in the form of the paper's Table 2, and what was decided."""
    index, malignant = rois.index, rois.index["label"] == 1
    lesion = np.char.add(np.char.add(index["case_id"].astype(str), "\t"), index["lesion_id"])
    marks = sorted(set(map(str, index["split"])))
    return {
        "name": rois.name,
        "modality": sorted(set(map(str, index["modality"]))),
        "truth_source": sorted(set(map(str, index["truth_source"]))),
        "cases": len(set(index["case_id"])),
        "lesions": {
            "malignant": len(set(lesion[malignant])),
            "benign": len(set(lesion[~malignant])),
        },
        "views": {"malignant": int(malignant.sum()), "benign": int((~malignant).sum())},
        "namespace": patients.space(rois),
        "official_test_learned": official_learned,
        "official_split": {mark: int((index["split"] == mark).sum()) for mark in marks if mark},
        "left_out": rois.manifest["left_out"],
        "decisions": rois.manifest["decisions"],
        "imaging": rois.manifest["imaging"],
        "sha256": shards.content(rois),
    }
