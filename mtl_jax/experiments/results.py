"""Compute the content of results.json from the scores of all runs."""

from collections.abc import Mapping, Sequence
from itertools import combinations
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
from mtl_jax.experiments.select import choose_network, choose_split
from mtl_jax.experiments.splits import Split
from mtl_jax.experiments.stage_tables import (
    Condition,
    auc_rows,
    condition_differences,
    group_by_condition,
)
from mtl_jax.models import registry
from mtl_jax.types import RoiSet, Run

TABULATED = ("splits", "depth", "learning_curve")  # stages whose result is a table of conditions


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
        "data_use": data_use(stages, collections, split),
        "weights": dict(weights_metadata),
        "backbones": {
            name: registry.get(name).describe() for name in [weights_metadata["backbone"]]
        },
        "stages": [
            {"stage": stage, "runs": [run.id for run in runs]} for stage, runs in stages.items()
        ],
        "runs": list(records.values()),
        "selection": {},
    }
    for stage, runs in stages.items():
        if stage in TABULATED:
            out[stage] = auc_rows(runs, tables, split.target)
            out["selection"] |= make_selection(stage, out[stage], rules.selection_unit)
            mark_selected(out[stage], stage, out["selection"], "splits" in stages)
    *earlier, stage = stages
    # An earlier stage that chose the split or the network on the same cases makes AUCs optimistic.
    optimistic = bool({"splits", "depth"} & set(earlier))
    if "cross_validation" in earlier:
        runs = stages["cross_validation"]
        out["cross_validation"] = evaluate(
            "cross_validation", runs, tables, split.target, rules, selected=optimistic
        )
    runs = stages[stage]
    if stage in TABULATED:
        return out | summarize_table(stage, runs, tables, split.target, out)
    selected = optimistic and stage == "cross_validation"
    out |= evaluate(stage, runs, tables, split.target, rules, selected)
    if conventional:
        out["conventional"] = evaluate_conventional(
            stage, runs, tables, conventional, split.target, rules, selected
        )
    return out


def mark_selected(
    rows: Sequence[dict[str, Any]],
    stage: str,
    selection: Mapping[str, Any],
    split_selected: bool,
) -> None:
    """Mark the rows whose split or network was selected by scores of the same cases.

    With `split_selected` (after a splits stage) these are all rows of the depth stage.
    """
    for row in rows:
        if stage == "splits":
            row["selected"] = row["split"] == selection["split"]["chosen"]
        elif stage == "depth":
            chosen = row["network"] == selection["network"]["chosen"]
            row["selected"] = chosen or split_selected
        else:
            row["selected"] = False
        row["primary"] = row["headline"] = False


def summarize_table(
    stage: str,
    runs: Sequence[Run],
    tables: Mapping[str, Scores],
    target: str,
    out: Mapping[str, Any],
) -> dict[str, Any]:
    """Return `auc` (the chosen row first) and `comparisons` of a study that ends with a table."""
    chosen = {name: selection["chosen"] for name, selection in out["selection"].items()}
    rows = sorted(out[stage], key=lambda row: any(row[k] != v for k, v in chosen.items()))
    first_rows = {(row["study"], row["unit"]): row for row in reversed(rows)}
    for row in first_rows.values():
        row["headline"] = True
    pairs = _condition_pairs(stage, runs, out["selection"])
    comparisons = condition_differences(runs, tables, target, pairs)
    for row in comparisons:
        row |= {"primary": False, "selected": stage == "depth"}
    return {"auc": rows, "comparisons": adjust_families(comparisons, stage)}


def make_selection(stage: str, rows: Sequence[Mapping[str, Any]], unit: str) -> dict[str, Any]:
    """Return the entry of a stage in `selection` of results.json, from the rows of its table."""
    rows = [row for row in rows if row["unit"] == unit]
    if stage == "splits":
        return {"split": {"unit": unit} | choose_split(rows)}
    if stage == "depth":
        return {"network": {"unit": unit} | choose_network(rows)}
    return {}


def _condition_pairs(
    stage: str, runs: Sequence[Run], selection: Mapping[str, Any]
) -> list[tuple[Condition, Condition]]:
    """Return the pairs of conditions that are compared.

    depth: all pairs, the chosen network first, so that Holm's correction covers the choice.
    learning_curve: approaches with the same number of training cases.
    """
    conditions = list(group_by_condition(runs))
    if stage == "depth":
        best = selection["network"]["chosen"]
        return list(combinations(sorted(conditions, key=lambda c: c.network != best), 2))
    if stage == "learning_curve":
        return [(a, b) for a, b in combinations(conditions, 2) if a.target_cases == b.target_cases]
    return []


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
        "namespace": patients.namespace_of(rois),
        "official_test_learned": official_learned,
        "official_split": {mark: int((index["split"] == mark).sum()) for mark in marks if mark},
        "notes": rois.manifest.get("notes", []),
        "left_out": rois.manifest["left_out"],
        "decisions": rois.manifest["decisions"],
        "imaging": rois.manifest["imaging"],
        "acquisition": acquisition.describe(rois),
        "sha256": shards.content_digest(rois),
    }
