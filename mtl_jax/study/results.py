"""From the scores of all runs to results.json. All statistics are those of `mtl_jax.roc`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_jax import roc
from mtl_jax.data import shards
from mtl_jax.nouns import RoiSet, Run
from mtl_jax.study import scores as score_tables
from mtl_jax.study.scores import Scores
from mtl_jax.study.splits import Split

UNITS = ("view", "lesion")


def summarize(
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    records: Sequence[Mapping[str, Any]],
    collections: Mapping[str, RoiSet],
    split: Split,
    weights_card: Mapping[str, Any],
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Everything that the report says, from each run's scores (by run id) and record.

    `samples` and `seed` are those of the bootstrap over patients.
    """
    pooled: dict[str, Scores] = {}
    areas: list[dict[str, Any]] = []
    for approach in dict.fromkeys(run.approach for run in runs):
        own = [run for run in runs if run.approach == approach]
        pooled[approach] = score_tables.join([tables[run.id] for run in own])
        if own[0].fold is not None:
            for run in own:
                cases = f"fold {run.fold + 1}"
                areas += _areas(approach, cases, tables[run.id], split.target, samples, seed)
        cases = "test" if own[0].fold is None else "pooled"
        for task in dict.fromkeys(pooled[approach].task.tolist()):
            areas += _areas(approach, cases, pooled[approach], task, samples, seed)
    return {
        "target": split.target,
        "split": {"rule": split.rule, "train": len(split.train), "test": len(split.test)},
        "collections": [_describe(rois) for rois in collections.values()],
        "weights": dict(weights_card),
        "runs": list(records),
        "auc": areas,
        "comparisons": _comparisons(pooled, split.target, samples, seed),
    }


def by_unit(scores: Scores, unit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and case ids, one a view or one a lesion (the mean over its views)."""
    if unit == "view":
        return scores.label, scores.score, scores.case_id
    lesions = roc.view_to_lesion(scores.label, scores.score, scores.case_id, scores.lesion_id)
    return lesions.labels, lesions.scores, lesions.cases


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


def _comparisons(
    pooled: Mapping[str, Scores], target: str, samples: int, seed: int
) -> list[dict[str, Any]]:
    """Each pair of approaches on the target's regions, which both must have scored."""
    names, entries = list(pooled), []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            left, right = (_sorted(pooled[name], target) for name in (a, b))
            if not np.array_equal(left.roi_id, right.roi_id):
                raise ValueError(f"{a} and {b} scored different regions of {target}")
            for unit in UNITS:
                labels, first, case_ids = by_unit(left, unit)
                second = by_unit(right, unit)[1]
                for method in ("proper", "obuchowski", "bootstrap"):
                    test = roc.compare(
                        labels,
                        first,
                        second,
                        method=method,
                        clusters=case_ids,
                        **({"samples": samples, "seed": seed} if method == "bootstrap" else {}),
                    )
                    entries.append(
                        {
                            "a": a,
                            "b": b,
                            "task": target,
                            "unit": unit,
                            "method": method,
                            "auc_a": test.auc_a,
                            "auc_b": test.auc_b,
                            "delta": test.delta,
                            "se": test.se,
                            "p_value": test.p_value,
                            "ci_low": test.ci_low,
                            "ci_high": test.ci_high,
                            "status": test.status,
                        }
                    )
    return entries


def _sorted(scores: Scores, task: str) -> Scores:
    scores = scores.of(scores.task == task)
    return scores.of(np.argsort(scores.roi_id, kind="stable"))


def _describe(rois: RoiSet) -> dict[str, Any]:
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
        "official_split": {mark: int((index["split"] == mark).sum()) for mark in marks if mark},
        "left_out": rois.manifest["left_out"],
        "decisions": rois.manifest["decisions"],
        "imaging": rois.manifest["imaging"],
        "sha256": shards.content(rois),
    }
