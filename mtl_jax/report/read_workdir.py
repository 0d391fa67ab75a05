"""Reads what a finished job left in its work folder. Judges and computes nothing."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mtl_jax.io.read_csv import read_csv
from mtl_jax.report import analysis_results
from mtl_jax.report.analysis_results import Findings
from mtl_jax.types import InputError

POOLED = ("test", "cross_validation")  # stages that score each ROI once an approach
SECONDARY = ("pooled over folds", "one fold")  # estimators that are never the headline


class ScoreTable(NamedTuple):
    """The scored ROIs of one approach, all its runs together: roi_id, task, case_id, lesion_id
    (n,) str, label (n,) int, score (n,) float32."""

    roi_id: np.ndarray
    task: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    label: np.ndarray
    score: np.ndarray


class WorkFolder(NamedTuple):
    """A finished work folder: the parsed JSON files, each run's history by run id (a dict an epoch;
    of `validated` too) and seconds since its latest start (None where not recorded), each
    approach's scores (those of its first initialization), and what the analyses found (None where
    none was made)."""

    config: dict[str, Any]
    environment: dict[str, Any]
    folds: dict[str, Any]
    results: dict[str, Any]
    histories: dict[str, list[dict[str, float]]]
    seconds: dict[str, float | None]
    scores: dict[str, ScoreTable]
    findings: Findings | None

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Those of the last stage: `auc` and `comparisons` are theirs."""
        return last_runs(self.results)

    @property
    def validated(self) -> list[dict[str, Any]]:
        """Those runs whose history holds the loss and AUC of the held-out fold."""
        return [
            run
            for run in held_out_runs(self.results)
            if any("validation_loss" in line for line in self.histories.get(run["id"], ()))
        ]

    @property
    def compares_approaches(self) -> bool:
        """Whether the last stage is cross-validation or the test set: then there are curves and
        comparisons of approaches; else a table of means by condition."""
        return self.results["stages"][-1]["stage"] in POOLED

    @property
    def primary(self) -> dict[str, Any] | None:
        """The comparison declared as the primary analysis; None where there is none."""
        return next((test for test in self.results["comparisons"] if test["primary"]), None)

    @property
    def initializations(self) -> int:
        """How many trainings of the last stage differ in their initialization alone."""
        return max((len(area["initializations"]) for area in self.results["auc"]), default=1)

    def tests(self, unit: str) -> list[dict[str, Any]]:
        """The comparisons on the target by this unit."""
        return [
            test
            for test in self.results["comparisons"]
            if (test["unit"], test["task"]) == (unit, self.results["target"])
        ]

    @property
    def approaches(self) -> list[str]:
        return list(dict.fromkeys(run["approach"] for run in self.runs))

    def headline_aucs(self, unit: str) -> list[dict[str, Any]]:
        """The empirical AUCs on the target, a row an approach, by the estimator of the headline;
        none where the last stage is a table of means by condition."""
        return [
            area
            for area in self.results["auc"]
            if self.compares_approaches
            and area["headline"]
            and (area["unit"], area["method"]) == (unit, "empirical")
        ]

    def mean_aucs(self, unit: str) -> list[dict[str, Any]]:
        """The rows of a last stage that is a table of means by condition."""
        return [
            row
            for row in self.results["auc"]
            if not self.compares_approaches and row["unit"] == unit
        ]


def read(folder: Path) -> WorkFolder:
    """Everything in `folder`. InputError where it is not the folder of a finished job."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the --workdir of a finished job")
    if not (folder / "results.json").is_file():
        raise InputError(
            f"{folder}: no finished job here (no results.json); run the job to its end first"
        )
    config, environment, folds, results = (
        _json(folder / f"{name}.json") for name in ("config", "environment", "folds", "results")
    )
    if any("estimator" not in area for area in results["auc"]):
        raise InputError(f"{folder}: results of an earlier version; run the job again")
    runs = last_runs(results)
    places = {run["id"]: folder / "runs" / run["id"] for run in runs}
    histories = {id_: place / "history.jsonl" for id_, place in places.items()}
    for run in held_out_runs(results):  # of an earlier stage they may have been deleted
        path = folder / "runs" / run["id"] / "history.jsonl"
        if path.is_file():
            histories[run["id"]] = path
    return WorkFolder(
        config,
        environment,
        folds,
        results,
        {id_: _history(path) for id_, path in histories.items()},
        {id_: _seconds(place / "timing.json") for id_, place in places.items()},
        # Figures show the first of several initializations, a choice made before any training.
        _scores(
            [(run["approach"], places[run["id"]]) for run in runs if not run.get("initialization")]
        ),
        analysis_results.read(folder / "analysis"),
    )


def last_runs(results: dict[str, Any]) -> list[dict[str, Any]]:
    last = set(results["stages"][-1]["runs"])
    return [run for run in results["runs"] if run["id"] in last]


def held_out_runs(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of the latest stage that holds out folds, with the split and network that were chosen,
    where any were."""
    runs = {run["id"]: run for run in results["runs"]}
    chosen = {what: found["chosen"] for what, found in results["selection"].items()}
    for stage in reversed(results["stages"]):
        own = [runs[id_] for id_ in stage["runs"] if runs[id_]["fold"] is not None]
        if own:
            return [run for run in own if all(run[what] == v for what, v in chosen.items())]
    return []


def _scores(runs: list[tuple[str, Path]]) -> dict[str, ScoreTable]:
    tables: dict[str, list[pd.DataFrame]] = {}
    try:
        for approach, place in runs:
            table = _table(place / "scores.csv")[list(ScoreTable._fields)]
            tables.setdefault(approach, []).append(table)
        return {approach: _columns(pd.concat(parts)) for approach, parts in tables.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{runs[0][1].parent}: a scores.csv is damaged ({error})") from error


def _columns(table: pd.DataFrame) -> ScoreTable:
    *ids, label, score = table.to_numpy().T
    return ScoreTable(
        *(np.array(column, str) for column in ids),
        np.array([int(text) for text in label], int),
        np.array([float(text) for text in score], np.float32),
    )


def _history(path: Path) -> list[dict[str, float]]:
    try:
        return [json.loads(line) for line in _text(path).split("\n") if line]
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); run the job again") from error


def _seconds(path: Path) -> float | None:
    return _json(path)["seconds"] if path.is_file() else None


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); run the job again") from error


def _text(path: Path) -> str:
    with _readable(path):
        return path.read_bytes().decode("utf-8")


def _table(path: Path) -> pd.DataFrame:
    with _readable(path):
        return read_csv(path)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); run the job to its end first"
        ) from error
    except (UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: damaged ({error}); run the job again") from error
