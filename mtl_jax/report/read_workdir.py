"""Read the work folder of a finished job."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mtl_jax.config import default
from mtl_jax.config_diff import fill_missing
from mtl_jax.io import atomic, workdir
from mtl_jax.io.read_csv import read_csv
from mtl_jax.report import analysis_results
from mtl_jax.report.analysis_results import Findings
from mtl_jax.types import PATIENTS, InputError

SECONDARY_ESTIMATORS = ("pooled over folds", "one fold")  # never the primary AUC


class ScoreTable(NamedTuple):
    """Scores of all runs of an approach: roi_id, task, case_id and lesion_id (n,) str, label (n,)
    int, score (n,) float32."""

    roi_id: np.ndarray
    task: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    label: np.ndarray
    score: np.ndarray


class WorkFolder(NamedTuple):
    """A finished work folder: its parsed JSON files, histories by run id and scores by approach."""

    config: dict[str, Any]
    environment: dict[str, Any]
    folds: dict[str, Any]
    results: dict[str, Any]
    histories: dict[str, list[dict[str, float]]]  # one dict per epoch
    seconds: dict[str, float | None]  # since the latest start of a run; None: not recorded
    scores: dict[str, ScoreTable]  # of the first initialization
    findings: Findings | None  # results of the analyses

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Runs of the last stage, to which `auc` and `comparisons` belong."""
        return last_runs(self.results)

    @property
    def validated_runs(self) -> list[dict[str, Any]]:
        """Runs whose history contains the loss and AUC of the held-out fold."""
        return [
            run
            for run in held_out_runs(self.results)
            if any("validation_loss" in epoch for epoch in self.histories.get(run["id"], ()))
        ]

    @property
    def last_stage(self) -> dict[str, Any]:
        """The last stage as it describes itself (experiments/stages/base.py, Stage.record)."""
        return self.results["stages"][-1]

    @property
    def compares_approaches(self) -> bool:
        """Whether the last stage compares the approaches, with ROC curves and tests.

        Otherwise it has a table of mean AUCs by condition.
        """
        return self.last_stage["compares_approaches"]

    @property
    def earlier_comparisons(self) -> dict[str, Any]:
        """AUCs and comparisons of the stages before the last that compare the approaches."""
        return {
            stage["stage"]: self.results[stage["stage"]]
            for stage in self.results["stages"][:-1]
            if stage["compares_approaches"]
        }

    @property
    def primary(self) -> dict[str, Any] | None:
        """The comparison declared as the primary analysis, or None."""
        return next((test for test in self.results["comparisons"] if test["primary"]), None)

    @property
    def initializations(self) -> int:
        """Number of initializations in the last stage."""
        return max((len(area["initializations"]) for area in self.results["auc"]), default=1)

    def cases_are(self, task: str) -> str:
        """Return what the cases of a collection are: patients, or groups of images."""
        collection = next((c for c in self.results["collections"] if c["name"] == task), {})
        return str(collection.get("cases_are", PATIENTS))  # absent in results of version 0.2

    def clusters(self, tasks: Iterable[str] = (), plural: bool = True) -> str:
        """Return what the statistics cluster scores by: patients, groups, or patients or groups.

        `tasks` are the collections of the scores; without them all that have an AUC.
        """
        names = set(tasks) or {row["task"] for row in self.results["auc"]}
        names = names or {self.results["target"]}
        nouns = sorted({self.cases_are(name) for name in names}, reverse=True)
        return " or ".join(noun if plural else noun.removesuffix("s") for noun in nouns)

    def name_clusters(self, text: str, tasks: Iterable[str] = ()) -> str:
        """Return a text of results.json on AUCs of `tasks` with the word for their clusters."""
        return text.replace(PATIENTS, self.clusters(tasks))

    def target_comparisons(self, unit: str) -> list[dict[str, Any]]:
        """Return the comparisons of a unit (view or lesion) on the target."""
        return [
            test
            for test in self.results["comparisons"]
            if (test["unit"], test["task"]) == (unit, self.results["target"])
        ]

    @property
    def approaches(self) -> list[str]:
        """Approaches of the last stage."""
        return list(dict.fromkeys(run["approach"] for run in self.runs))

    def headline_aucs(self, unit: str) -> list[dict[str, Any]]:
        """Return the empirical primary AUC of each approach on the target; [] for mean AUCs."""
        return [
            area
            for area in self.results["auc"]
            if self.compares_approaches
            and area["headline"]
            and (area["unit"], area["method"]) == (unit, "empirical")
        ]

    def mean_aucs(self, unit: str) -> list[dict[str, Any]]:
        """Return the rows of the last stage if it is a table of mean AUCs by condition."""
        return [
            row
            for row in self.results["auc"]
            if not self.compares_approaches and row["unit"] == unit
        ]


def read(folder: Path) -> WorkFolder:
    """Read the work folder of a finished job; InputError if it is none, or a file is damaged."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the --workdir of a finished job")
    if not (folder / "results.json").is_file():
        raise InputError(f"{folder}: not a finished job (no results.json); finish the job first")
    config, environment, folds, results = (
        _json(folder / f"{name}.json") for name in ("config", "environment", "folds", "results")
    )
    workdir.reject_old(folder, config)
    # Settings that were added to the package later have their defaults.
    config = fill_missing(config, json.loads(json.dumps(default().to_dict())))
    if not results:
        path = folder / "results.json"
        raise InputError(f"{path}: damaged (empty); {_cure(path)}")
    is_old = "networks" not in results or any("estimator" not in row for row in results["auc"])
    if is_old or any("caption" not in stage for stage in results["stages"]):
        raise InputError(
            f"{folder}: the results were written by an earlier version; run the job again"
        )
    runs = last_runs(results)
    run_folders = {run["id"]: folder / "runs" / run["id"] for run in runs}
    histories = {run_id: path / "history.jsonl" for run_id, path in run_folders.items()}
    for run in held_out_runs(results):  # runs of an earlier stage may have been deleted
        path = folder / "runs" / run["id"] / "history.jsonl"
        if path.is_file():
            histories[run["id"]] = path
    return WorkFolder(
        config,
        environment,
        folds,
        results,
        {run_id: _history(path) for run_id, path in histories.items()},
        {run_id: _seconds(path / "timing.json") for run_id, path in run_folders.items()},
        # Figures show the first initialization, a choice made before training.
        _scores(
            [
                (run["approach"], run_folders[run["id"]], run.get("scores_sha256"))
                for run in runs
                if not run.get("initialization")
            ]
        ),
        analysis_results.read(folder / "analysis"),
    )


def last_runs(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the runs of the last stage."""
    run_ids = set(results["stages"][-1]["runs"])
    return [run for run in results["runs"] if run["id"] in run_ids]


def held_out_runs(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the runs of the last stage with held-out folds, for the selected split and network."""
    runs = {run["id"]: run for run in results["runs"]}
    chosen = {field: selection["chosen"] for field, selection in results["selection"].items()}
    for stage in reversed(results["stages"]):
        fold_runs = [runs[run_id] for run_id in stage["runs"] if runs[run_id]["fold"] is not None]
        if fold_runs:
            return [run for run in fold_runs if all(run[f] == v for f, v in chosen.items())]
    return []


def _scores(runs: list[tuple[str, Path, str | None]]) -> dict[str, ScoreTable]:
    """Return the scores by approach; `runs` are their approach, folder and checksum of scores."""
    tables: dict[str, list[pd.DataFrame]] = {}
    try:
        for approach, run_folder, sha256 in runs:
            path = run_folder / "scores.csv"
            table = _table(path)[list(ScoreTable._fields)]
            if sha256 and atomic.file_sha256(path) != sha256:
                raise InputError(
                    f"{path}: does not match the checksum in results.json; {_cure(path)}"
                )
            tables.setdefault(approach, []).append(table)
        return {approach: _columns(pd.concat(parts)) for approach, parts in tables.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); {_cure(path)}") from error


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
        raise InputError(f"{path}: damaged ({error}); {_cure(path)}") from error


def _seconds(path: Path) -> float | None:
    return _json(path)["seconds"] if path.is_file() else None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); {_cure(path)}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: damaged (expected an object, {{...}}); {_cure(path)}")
    return value


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
        raise InputError(f"{path}: cannot be read ({error.strerror}); {_cure(path)}") from error
    except (UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: damaged ({error}); {_cure(path)}") from error


def _cure(path: Path) -> str:
    """Return what makes a file of a finished job whole again."""
    if path.name == "results.json":
        return "run the job again (finished runs are not repeated)"
    if path.name in ("history.jsonl", "scores.csv"):  # of one run
        return f"delete {path.parent} and run the job again, which trains this run again"
    return "delete this file, if it is there, and run the job again (finished runs are kept)"
