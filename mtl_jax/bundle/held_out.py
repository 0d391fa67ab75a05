"""Scores of the training cases by networks that had not seen them, and what rests on them.

That is the calibration and the operating points of a bundle. It reads finished studies only.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_jax import roc
from mtl_jax.bundle import calibration
from mtl_jax.difference import difference
from mtl_jax.nouns import InputError
from mtl_jax.study import scores as score_tables
from mtl_jax.study.scores import Scores, by_unit

# What two runs must share for one to speak for the other.
ALIKE = (
    *("approach", "tasks", "network", "seed", "initialization", "heads", "task_weights"),
    "target_cases",
)
OF_EACH_RUN = ("epochs", "task_weights", "heads")  # settings that approach and run may replace
SENSITIVITIES = (0.90, 0.95)


class Study(NamedTuple):
    """A finished work folder: its place and parsed JSON."""

    folder: Path
    config: dict[str, Any]
    folds: dict[str, Any]
    results: dict[str, Any]


class HeldOut(NamedTuple):
    """Scores of the target's training cases, each by a network that had not seen it, the fold
    (n,) of each row, and where they are from, in words."""

    scores: Scores
    fold: np.ndarray
    says: str

    def unit(self, unit: str) -> calibration.Scored:
        label, score, case = by_unit(self.scores, unit)
        by_case = dict(zip(self.scores.case_id.tolist(), self.fold.tolist(), strict=True))
        return calibration.Scored(label, score, case, np.array([by_case[c] for c in case]))


def find(record: dict[str, Any], study: Study, other: Study | None) -> HeldOut | None:
    """Out-of-fold scores of the target for the run of `record` (run.json), from `other` if given,
    else from its own study; None where there are none."""
    source = other or study
    if other:
        _refuse_other(record, study, other)
    made_by = record.get("provenance", {}).get("weights")
    by_split: dict[int, dict[int, str]] = {}
    for run in source.results["runs"]:
        if run["fold"] is not None and all(run[key] == record[key] for key in ALIKE):
            if run.get("provenance", {}).get("weights") != made_by:
                raise InputError(
                    f"{source.folder}: its run {run['id']} started from other weights than the run;"
                    " make the cross-validation from the same"
                )
            if other:
                _refuse_other_training(_training(run, other), _training(record, study), run, other)
            by_split.setdefault(run["split"], {})[run["fold"]] = run["id"]
    wanted = None if other else record["split"]  # of a run with a fold held out, its own deal
    whole = [
        number
        for number, found in sorted(by_split.items())
        if len(found) == len(source.folds["splits"][str(number)]) and wanted in (None, number)
    ]
    if not whole:
        if other:
            raise InputError(
                f"{other.folder}: it has no run of {record['approach']} on"
                f" {', '.join(record['tasks'])} with network {record['network']} and seed"
                f" {record['seed']} for each of its folds"
            )
        return None
    runs, target = by_split[whole[0]], source.folds["target"]
    tables = [
        score_tables.read(source.folder / "runs" / id_ / "scores.csv") for id_ in runs.values()
    ]
    tables = [table.of(table.task == target) for table in tables]
    fold = np.repeat(list(runs), [len(table.label) for table in tables])
    joined = score_tables.join(tables)
    if len(set(joined.label.tolist())) < 2:
        raise InputError(f"{source.folder}: its out-of-fold scores are of one class")
    cases = len(set(joined.case_id.tolist()))
    says = f"{len(runs)} folds of {cases} training cases of {target}"
    if record["fold"] is None:
        says += ", by networks trained without the fold they score; this one is trained on all"
    return HeldOut(joined, fold, says)


def _refuse_other(record: dict[str, Any], study: Study, other: Study) -> None:
    """Out-of-fold scores must be of the same regions, and of no case that the run is tested on."""
    if other.folds["target"] != study.folds["target"]:
        raise InputError(f"{other.folder}: its target is {other.folds['target']}, not the run's")
    for name in record["tasks"]:
        if other.folds["collections"].get(name) != study.folds["collections"][name]:
            raise InputError(f"{other.folder}: its collection {name} is not that of the run")
    target = study.folds["target"]
    tested = set(study.folds["test"] if record["fold"] is None else [])
    tested |= set(study.folds["never_learned"].get(target, ()) if tested else [])
    seen = sorted(tested & set(other.folds["train"]))
    if seen:
        raise InputError(
            f"{other.folder}: {len(seen)} of its cases, such as {seen[0]}, are in the run's test"
            " set; make the cross-validation with the same data.test_fraction and split_seed"
        )


def _training(record: dict[str, Any], study: Study) -> dict[str, Any]:
    """How the run of `record` was trained, beside what ALIKE compares. The epochs are those of the
    config: with train.match_steps each run has its own number."""
    recorded = record.get("provenance", {})
    settings = recorded.get("settings", {})
    found = {
        section: {k: v for k, v in settings.get(section, {}).items() if k not in OF_EACH_RUN}
        for section in ("train", "model")
    }
    found["train"]["epochs"] = study.config["train"]["epochs"]
    return found | {"precision": recorded.get("precision", {})}


def _refuse_other_training(
    there: dict[str, Any], here: dict[str, Any], run: dict[str, Any], other: Study
) -> None:
    differ = difference(there, here)
    if differ:
        raise InputError(
            f"{other.folder}: its run {run['id']} was trained in another way than the run:"
            f" {differ}; make the cross-validation with the same settings"
        )


def calibrated(held: HeldOut | None, own: Scores, independent: bool) -> dict[str, Any] | None:
    if held is None:
        return None
    found: dict[str, Any] = {"method": "logistic (Platt) on the logit of the score"}
    for unit in ("view", "lesion"):
        scored = held.unit(unit)
        a, b = calibration.fit(scored.label, scored.score)
        checks = [
            calibration.check(
                "out of fold, each fold by a curve fitted to the others",
                scored.label,
                calibration.by_other_folds(scored),
                scored.case,
            )
        ]
        if independent and len(set(own.label.tolist())) == 2:
            label, score, case = by_unit(own, unit)
            checks.append(
                calibration.check("test set", label, calibration.apply(a, b, score), case)
            )
        prevalence = float(scored.label.mean())
        found[unit] = {"a": a, "b": b, "prevalence": prevalence, "checks": checks}
    return found


def operating_points(held: HeldOut | None, own: Scores, independent: bool) -> list[dict[str, Any]]:
    """Thresholds per lesion chosen out of fold, with what they give there and on the test set."""
    if held is None:
        return []
    scored = held.unit("lesion")
    points = []
    for sensitivity in (None, *SENSITIVITIES):
        chosen = roc.operating_point(scored.label, scored.score, sensitivity)
        if not np.isfinite(chosen.threshold):
            continue
        name = f"sensitivity {sensitivity:.2f}" if sensitivity else "highest Youden index"
        point = {"name": name, "threshold": chosen.threshold, "out_of_fold": _seen(chosen, scored)}
        if independent and len(set(own.label.tolist())) == 2:
            label, score, case = by_unit(own, "lesion")
            test = calibration.Scored(label, score, case, case)
            point["test"] = _seen(roc.at_threshold(label, score, chosen.threshold), test)
        points.append(point)
    return points


def _seen(point: roc.OperatingPoint, scored: calibration.Scored) -> dict[str, Any]:
    return {
        "sensitivity": point.sensitivity,
        "sensitivity_interval": list(point.sensitivity_interval),
        "specificity": point.specificity,
        "specificity_interval": list(point.specificity_interval),
        "n_malignant": int(np.sum(scored.label == 1)),
        "n_benign": int(np.sum(scored.label == 0)),
    }


def read_study(folder: Path) -> Study:
    cure = "name the --workdir of a finished job"
    names = ("config", "folds", "results")
    return Study(folder, *(read_json(folder / f"{name}.json", cure) for name in names))


def read_json(path: Path, cure: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged; {cure}") from error
