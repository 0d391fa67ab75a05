"""Compute the content of results.json from the scores of all runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_jax.data import acquisition, patients, shards
from mtl_jax.experiments.data_use import data_use
from mtl_jax.experiments.evaluation import (
    EvaluationRules,
    adjust_families,
    evaluate,
    evaluate_conventional,
)
from mtl_jax.experiments.scores import Scores
from mtl_jax.experiments.splits import Split
from mtl_jax.experiments.stage_tables import auc_rows, condition_differences, group_by_condition
from mtl_jax.experiments.stages import Stage, get
from mtl_jax.types import RoiSet, Run


def summarize(
    study: str,
    stages: Mapping[str, Sequence[Run]],
    tables: Mapping[str, Scores],
    records: Mapping[str, Mapping[str, Any]],
    collections: Mapping[str, RoiSet],
    split: Split,
    weights_metadata: Mapping[str, Any],
    conventional: Mapping[str, Scores],
    rules: EvaluationRules,
) -> dict[str, Any]:
    """Return the content of results.json.

    `stages` holds the runs of each stage, in order; `tables` and `records` the scores and run.json
    by run id; `conventional` the scores of conventional CAD by classifier, or nothing.
    """
    out: dict[str, Any] = {
        "study": study,
        "target": split.target,
        "split": {"rule": split.rule, "train": len(split.train), "test": len(split.test)},
        "collections": [
            _describe_collection(rois, name in split.official_tests_in_training)
            for name, rois in collections.items()
        ],
        "data_use": data_use(stages, collections, split, rules.inner_fraction),
        "weights": dict(weights_metadata),
        "stages": [],
        "runs": list(records.values()),
        "selection": {},
    }
    *_, last = stages
    for name, runs in stages.items():
        add_stage(out, get(name), runs, tables, rules, name == last)
    if conventional:
        selected = get(last).is_optimistic(out["selection"])
        out["conventional"] = evaluate_conventional(
            last, runs, tables, conventional, split.target, rules, selected
        )
    return out


def add_stage(
    out: dict[str, Any],
    stage: Stage,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    rules: EvaluationRules,
    is_last: bool,
) -> None:
    """Add the results of a stage to those of the stages before it; the last stage is the main
    result."""
    target, selection = out["target"], out["selection"]
    optimistic = stage.is_optimistic(selection)
    if stage.compares_approaches:
        result = evaluate(stage.name, runs, tables, target, rules, optimistic)
        rows = result["auc"]
        out |= result if is_last else {stage.name: result}
    else:
        out[stage.name] = rows = auc_rows(runs, tables, target)
        choice = select(stage, rows, rules.selection_unit)
        _mark_selected(stage, rows, choice, optimistic)
        out["selection"] = selection | choice
        if is_last:
            out |= _compare_conditions(stage, runs, tables, out)
    entry = {"stage": stage.name, "runs": [run.id for run in runs]}
    out["stages"].append(entry | stage.record(target, rows))


def select(stage: Stage, rows: Sequence[Mapping[str, Any]], unit: str) -> dict[str, Any]:
    """Return the entries of a stage in `selection` of results.json, from the rows of its table."""
    choice = stage.select([row for row in rows if row["unit"] == unit])
    return {name: {"unit": unit} | entry for name, entry in choice.items()}


def _mark_selected(
    stage: Stage, rows: Sequence[dict[str, Any]], selection: Mapping[str, Any], optimistic: bool
) -> None:
    """Mark the rows whose split or network was selected by scores of the same cases.

    `selection` is that of the stage itself; earlier ones make all its AUCs `optimistic`.
    """
    for row in rows:
        row["selected"] = optimistic or stage.is_selected(row, selection)
        row["primary"] = row["headline"] = False


def _compare_conditions(
    stage: Stage, runs: Sequence[Run], tables: Mapping[str, Scores], out: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `auc` (the chosen row first) and `comparisons` of a study that ends with a table."""
    chosen = {name: selection["chosen"] for name, selection in out["selection"].items()}
    rows = sorted(out[stage.name], key=lambda row: any(row[k] != v for k, v in chosen.items()))
    first_rows = {(row["study"], row["unit"]): row for row in reversed(rows)}
    for row in first_rows.values():
        row["headline"] = True
    pairs = stage.pairs(list(group_by_condition(runs)), out["selection"])
    comparisons = condition_differences(runs, tables, out["target"], pairs)
    selected = any(row["selected"] for row in rows)
    for row in comparisons:
        row |= {"primary": False, "selected": selected}
    return {"auc": rows, "comparisons": adjust_families(comparisons, stage.name)}


def _describe_collection(rois: RoiSet, official_learned: bool) -> dict[str, Any]:
    """Return the counts of one collection (as in Table 2 of the paper) and its manifest entries."""
    index, malignant = rois.index, rois.index["label"] == 1
    case, lesion = (index[name].astype(str) for name in ("case_id", "lesion_id"))
    lesion = np.char.add(np.char.add(case, "\t"), lesion)
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
        "cases_are": patients.cases_are(rois),
        "namespace": patients.namespace_of(rois),
        "official_test_learned": official_learned,
        "official_split": {mark: int((index["split"] == mark).sum()) for mark in marks if mark},
        "checks": rois.manifest.get("checks", []),
        "notes": rois.manifest.get("notes", []),
        "left_out": rois.manifest["left_out"],
        "decisions": rois.manifest["decisions"],
        "imaging": rois.manifest["imaging"],
        "acquisition": acquisition.describe(rois),
        "sha256": shards.content_digest(rois),
    }
