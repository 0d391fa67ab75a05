"""Scores of the training cases by networks that had not seen them: what a calibration rests on.

It reads finished studies only.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.bundle import calibration
from mtl_jax.config_diff import difference
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.scores import Scores, by_unit
from mtl_jax.types import InputError

# What two runs must share for one to speak for the other.
ALIKE = (
    *("approach", "tasks", "network", "seed", "initialization", "heads", "task_weights"),
    "target_cases",
)
OF_EACH_RUN = ("epochs", "task_weights", "heads")  # settings that approach and run may replace


class Study(NamedTuple):
    """A finished work folder: its place and parsed JSON."""

    folder: Path
    config: dict[str, Any]
    folds: dict[str, Any]
    results: dict[str, Any]


class OutOfFoldScores(NamedTuple):
    """Scores of the target's training cases, each by a network that had not seen it, the fold
    (n,) of each row, and where they are from, in words."""

    scores: Scores
    fold: np.ndarray
    description: str

    def unit(self, unit: str) -> calibration.LabelledScores:
        label, score, case = by_unit(self.scores, unit)
        by_case = dict(zip(self.scores.case_id.tolist(), self.fold.tolist(), strict=True))
        return calibration.LabelledScores(label, score, case, np.array([by_case[c] for c in case]))


def find_scores(
    record: dict[str, Any], study: Study, other: Study | None
) -> OutOfFoldScores | None:
    """Out-of-fold scores of the target for the run of `record` (run.json), from `other` if given,
    else from its own study; None where there are none.

    InputError: `other` is of other cases, weights or settings, or does not say of which.
    """
    source = other or study
    try:
        if other:
            _reject_other(record, study, other)
        runs = _runs_of_folds(record, study, source, own=other is None)
        return _joined(record, source, runs) if runs else None
    except KeyError as error:
        raise InputError(
            f"{source.folder}: its config.json, folds.json, results.json or run lacks {error}, as"
            " of another kind of job or an earlier version; run the job again"
        ) from error


def _runs_of_folds(
    record: dict[str, Any], study: Study, source: Study, own: bool
) -> dict[int, str]:
    """The run of each fold of one partition that was trained as the run of `record`; {} where the
    study is the run's own and has none."""
    by_split: dict[int, dict[int, str]] = {}
    for run in source.results["runs"]:
        if run["fold"] is not None and all(run[key] == record[key] for key in ALIKE):
            _reject_other_weights(run, record, source)
            _reject_other_training(_training(run, source), _training(record, study), run, source)
            by_split.setdefault(run["split"], {})[run["fold"]] = run["id"]
    wanted = record["split"] if own else None  # of a run with a fold held out, its own partition
    whole = [
        number
        for number, found in sorted(by_split.items())
        if len(found) == len(source.folds["splits"][str(number)]) and wanted in (None, number)
    ]
    if not (whole or own):
        raise InputError(
            f"{source.folder}: it has no run of {record['approach']} on"
            f" {', '.join(record['tasks'])} with network {record['network']}, seed"
            f" {record['seed']}, initialization {record['initialization']}, heads"
            f" {record['heads']} and the same task weights and number of cases for each of its"
            " folds"
        )
    return by_split[whole[0]] if whole else {}


def _joined(record: dict[str, Any], source: Study, runs: dict[int, str]) -> OutOfFoldScores:
    target = source.folds["target"]
    tables = [
        score_tables.read(source.folder / "runs" / id_ / "scores.csv") for id_ in runs.values()
    ]
    tables = [table.of(table.task == target) for table in tables]
    fold = np.repeat(list(runs), [len(table.label) for table in tables])
    joined = score_tables.join(tables)
    if len(set(joined.label.tolist())) < 2:
        raise InputError(f"{source.folder}: its out-of-fold scores are of one class")
    cases = set(joined.case_id.tolist())
    without = sorted(set(source.folds["train"]) - cases)
    if without:
        raise InputError(
            f"{source.folder}: {len(without)} of its training cases, such as {without[0]}, have no"
            " score; run the job again"
        )
    says = f"{len(runs)} folds of {len(cases)} training cases of {target}"
    if record["fold"] is None:
        says += ", by networks trained without the fold they score; this one is trained on all"
    return OutOfFoldScores(joined, fold, says)


def _reject_other(record: dict[str, Any], study: Study, other: Study) -> None:
    """Out-of-fold scores must be of the same ROIs, and of no case that the run is tested on."""
    if other.folds["target"] != study.folds["target"]:
        raise InputError(f"{other.folder}: its target is {other.folds['target']}, not the run's")
    for name in record["tasks"]:
        if other.folds["collections"].get(name) != study.folds["collections"][name]:
            raise InputError(f"{other.folder}: its collection {name} is not that of the run")
    target = study.folds["target"]
    tested = set(study.folds["test"] if record["fold"] is None else [])
    tested |= set(study.folds["never_learned"].get(target, ()) if tested else [])
    seen = sorted(tested & set(other.folds["train"]))
    cure = "make the cross-validation with the same data.test_fraction and split_seed"
    if seen:
        raise InputError(
            f"{other.folder}: {len(seen)} of its cases, such as {seen[0]}, are in the run's test"
            f" set; {cure}"
        )
    here, there = set(study.folds["train"]), set(other.folds["train"])
    if here != there:
        differ = sorted(here ^ there)
        raise InputError(
            f"{other.folder}: it has {len(there)} training cases and the run {len(here)}, and"
            f" {len(differ)} of them, such as {differ[0]}, are in one alone; {cure}"
        )
    for name in record["tasks"]:
        if name != target and _not_learned(study, name) != _not_learned(other, name):
            raise InputError(
                f"{other.folder}: it has learned other cases of {name} than the run; make the"
                " cross-validation with the same data.test_fraction, test_each and split_seed"
            )


def _not_learned(study: Study, name: str) -> set[str]:
    """Cases of a collection beside the target that no run of the study learns."""
    evaluated, never = study.folds["test_of_others"], study.folds["never_learned"]
    return set(evaluated.get(name, ())) | set(never.get(name, ()))


def _reject_other_weights(run: dict[str, Any], record: dict[str, Any], source: Study) -> None:
    weights = []
    for one in (run, record):
        weights.append(one.get("provenance", {}).get("weights"))
        if not weights[-1]:
            raise InputError(
                f"{source.folder}: run {one['id']} does not record what it started from, as of an"
                " earlier version; run its job again"
            )
    if weights[0] != weights[1]:
        raise InputError(
            f"{source.folder}: its run {run['id']} started from other weights than the run"
            f" ({difference(weights[0], weights[1])}); make the cross-validation from the same"
        )


def _training(record: dict[str, Any], study: Study) -> dict[str, Any]:
    """How the run of `record` was trained, beside what ALIKE compares. With train.match_steps each
    run has its own number of epochs, and those of the config are compared."""
    recorded = record["provenance"]
    settings = recorded["settings"]
    found = {
        section: {k: v for k, v in settings[section].items() if k not in OF_EACH_RUN}
        for section in ("train", "model")
    }
    found["train"]["epochs"] = study.config["train"]["epochs"]
    if not settings["train"]["match_steps"]:
        found["train"]["epochs_of_the_run"] = settings["train"]["epochs"]
    return found | {"precision": recorded["precision"]}


def _reject_other_training(
    there: dict[str, Any], here: dict[str, Any], run: dict[str, Any], other: Study
) -> None:
    differ = difference(there, here)
    if differ:
        raise InputError(
            f"{other.folder}: its run {run['id']} was trained in another way than the run:"
            f" {differ}; make the cross-validation with the same settings"
        )


def read_study(folder: Path) -> Study:
    cure = "name the --workdir of a finished job"
    names = ("config", "folds", "results")
    return Study(folder, *(read_json(folder / f"{name}.json", cure) for name in names))


def read_json(path: Path, cure: str) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged; {cure}") from error
