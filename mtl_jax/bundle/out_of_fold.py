"""Read the out-of-fold scores of the training cases, by networks that were not trained on them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.bundle import calibration
from mtl_jax.config import MATCHED_STEPS, has_option
from mtl_jax.config_diff import changed_fields, format_changes
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.scores import Scores, aggregate
from mtl_jax.io import workdir
from mtl_jax.training import software
from mtl_jax.types import InputError

# Fields that two runs must share for the scores of one to calibrate the other.
MATCHED_FIELDS = ("approach", "tasks", "network", "seed", "initialization", "heads")
MATCHED_FIELDS += ("task_weights", "target_cases")
RUN_SETTINGS = ("epochs", "task_weights", "heads")  # settings that a run may replace


class Study(NamedTuple):
    """A finished work folder and its parsed JSON files."""

    folder: Path
    config: dict[str, Any]
    folds: dict[str, Any]
    results: dict[str, Any]


class OutOfFoldScores(NamedTuple):
    """Out-of-fold scores of the target's training cases.

    `fold` (n,) is the fold of each row; `description` states the origin of the scores.
    """

    scores: Scores
    fold: np.ndarray
    description: str

    def unit(self, unit: str) -> calibration.LabelledScores:
        """Return the scores of views or lesions; `unit` is 'view' or 'lesion'."""
        label, score, case = aggregate(self.scores, unit)
        by_case = dict(zip(self.scores.case_id.tolist(), self.fold.tolist(), strict=True))
        return calibration.LabelledScores(label, score, case, np.array([by_case[c] for c in case]))


def find_scores(
    record: dict[str, Any], study: Study, other: Study | None
) -> OutOfFoldScores | None:
    """Return out-of-fold scores of the target for the run of `record`, its run.json.

    They are those of the cross-validation `other`, or of the run's own study, which may have none.
    Raises InputError if `other` has other cases, weights or settings, or does not record them.
    """
    source = other or study
    try:
        if other:
            _reject_other(record, study, other)
        runs = _runs_of_folds(record, study, source, is_own=other is None)
        return _joined(record, source, runs) if runs else None
    except KeyError as error:
        raise InputError(
            f"{source.folder}: {error} is missing in its config.json, folds.json, results.json or"
            " run.json (written by another kind of job or an earlier version); run the job again"
        ) from error


def _runs_of_folds(
    record: dict[str, Any], study: Study, source: Study, is_own: bool
) -> dict[int, str]:
    """Return the run id of each fold of one partition that was trained as the run of `record`.

    The result is empty if the study is the run's own and has no such runs.
    """
    by_split: dict[int, dict[int, str]] = {}
    for run in source.results["runs"]:
        if run["fold"] is not None and all(run[key] == record[key] for key in MATCHED_FIELDS):
            _reject_other_weights(run, record, source)
            differences = changed_fields(_training(run, source), _training(record, study))
            if differences:
                raise InputError(
                    f"{source.folder}: its run {run['id']} was trained with other settings than the"
                    f" run: {format_changes(differences)}; repeat the cross-validation with the"
                    " same settings"
                )
            by_split.setdefault(run["split"], {})[run["fold"]] = run["id"]
    split = record["split"] if is_own else None  # a run with a held-out fold uses its own partition
    complete = [
        number
        for number, fold_runs in sorted(by_split.items())
        if len(fold_runs) == len(source.folds["splits"][str(number)]) and split in (None, number)
    ]
    if not (complete or is_own):
        raise InputError(
            f"{source.folder}: no run of {record['approach']} on"
            f" {', '.join(record['tasks'])} with network {record['network']}, seed"
            f" {record['seed']}, initialization {record['initialization']}, heads"
            f" {record['heads']} and the same task weights and number of cases for every fold;"
            " name another cross-validation"
        )
    return by_split[complete[0]] if complete else {}


def _joined(record: dict[str, Any], source: Study, runs: dict[int, str]) -> OutOfFoldScores:
    target = source.folds["target"]
    paths = [source.folder / "runs" / run_id / "scores.csv" for run_id in runs.values()]
    tables = [score_tables.read_scores(path) for path in paths]
    tables = [table.select_rows(table.task == target) for table in tables]
    fold = np.repeat(list(runs), [len(table.label) for table in tables])
    joined = score_tables.concatenate(tables)
    if len(set(joined.label.tolist())) < 2:
        raise InputError(f"{source.folder}: all out-of-fold scores are of one class")
    cases = set(joined.case_id.tolist())
    unscored = sorted(set(source.folds["train"]) - cases)
    if unscored:
        raise InputError(
            f"{source.folder}: {len(unscored)} of its training cases, such as {unscored[0]}, have"
            " no score; run the job again"
        )
    description = f"{len(runs)} folds of {len(cases)} training cases of {target}"
    if record["fold"] is None:
        description += ", each scored by a network trained on the other folds; this network was"
        description += " trained on all folds"
    return OutOfFoldScores(joined, fold, description)


def _reject_other(record: dict[str, Any], study: Study, other: Study) -> None:
    """Raise InputError if `other` has other ROIs than the run, or was trained on its test cases."""
    if other.folds["target"] != study.folds["target"]:
        raise InputError(
            f"{other.folder}: its target is {other.folds['target']}, that of the run is"
            f" {study.folds['target']}; name another cross-validation"
        )
    for name in record["tasks"]:
        if other.folds["collections"].get(name) != study.folds["collections"][name]:
            raise InputError(
                f"{other.folder}: its collection {name} differs from that of the run; name another"
                " cross-validation"
            )
    target = study.folds["target"]
    test_cases = set(study.folds["test"] if record["fold"] is None else [])
    test_cases |= set(study.folds["never_learned"].get(target, ()) if test_cases else [])
    leaked = sorted(test_cases & set(other.folds["train"]))
    cure = "repeat the cross-validation with the same data.test_fraction and split_seed"
    if leaked:
        raise InputError(
            f"{other.folder}: {len(leaked)} of its cases, such as {leaked[0]}, are in the run's"
            f" test set; {cure}"
        )
    run_cases, other_cases = set(study.folds["train"]), set(other.folds["train"])
    if run_cases != other_cases:
        unshared = sorted(run_cases ^ other_cases)
        raise InputError(
            f"{other.folder}: it has {len(other_cases)} training cases and the run"
            f" {len(run_cases)}; {len(unshared)}, such as {unshared[0]}, are in only one of them;"
            f" {cure}"
        )
    for name in record["tasks"]:
        if name != target and _not_learned(study, name) != _not_learned(other, name):
            raise InputError(
                f"{other.folder}: it was trained on other cases of {name} than the run; repeat the"
                " cross-validation with the same data.test_fraction, test_each and split_seed"
            )


def _not_learned(study: Study, name: str) -> set[str]:
    """Return the cases of a collection that no run of the study was trained on."""
    evaluated, never = study.folds["test_of_others"], study.folds["never_learned"]
    return set(evaluated.get(name, ())) | set(never.get(name, ()))


def _reject_other_weights(run: dict[str, Any], record: dict[str, Any], source: Study) -> None:
    """Raise InputError if two runs started from different weights."""
    weights = []
    for run_record in (run, record):
        weights.append(run_record.get("provenance", {}).get("weights"))
        if not weights[-1]:
            raise InputError(
                f"{source.folder}: run {run_record['id']} does not record its initial weights (it"
                " was written by an earlier version); run the job again"
            )
    if weights[0] != weights[1]:
        raise InputError(
            f"{source.folder}: its run {run['id']} started from other weights than the run ("
            f"{format_changes(changed_fields(*weights))}); repeat the cross-validation with the"
            " same weights"
        )


def _training(record: dict[str, Any], study: Study) -> dict[str, Any]:
    """Return the training settings of a run, except MATCHED_FIELDS.

    With matched steps the epochs of each run differ, and only those of the config are compared.
    """
    provenance = record["provenance"]
    settings = provenance["settings"]
    training = {
        section: {k: v for k, v in settings[section].items() if k not in RUN_SETTINGS}
        for section in ("train", "model")
    }
    training["train"]["epochs"] = study.config["train"]["epochs"]
    if not (settings["train"]["match_steps"] or has_option(record["approach"], MATCHED_STEPS)):
        training["train"]["epochs_of_the_run"] = settings["train"]["epochs"]
    return training | {"precision": software.add_later_fields(provenance)["precision"]}


def read_study(folder: Path) -> Study:
    """Read the work folder of a finished job; InputError if it is none."""
    cure = "name the --workdir of a finished job"
    names = ("config", "folds", "results")
    study = Study(folder, *(read_json(folder / f"{name}.json", cure) for name in names))
    workdir.reject_old(folder, study.config)
    return study


def read_json(path: Path, cure: str) -> dict[str, Any]:
    """Read a JSON file; InputError with `cure` if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged; {cure}") from error
