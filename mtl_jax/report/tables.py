"""Prepare the rows of the tables of a report."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax import patient_notes
from mtl_jax.config import default
from mtl_jax.config_diff import flatten
from mtl_jax.exclusion_reasons import group_by_reason, join_first
from mtl_jax.report.read_workdir import SECONDARY_ESTIMATORS, WorkFolder

PATH_FIELDS = ("data.sources", "data.crosswalk", "data.cache", "weights")  # settings with paths
MAX_NAMED = 3  # excluded items that are named for each reason


class DataUse(NamedTuple):
    """A part of a collection and its use; lesions and views are counted as (malignant, benign)."""

    used_for: str
    cases: int
    lesions: tuple[int, int]
    views: tuple[int, int]
    rois_augmented: int


def data_rows(work: WorkFolder) -> list[tuple[dict[str, Any], list[DataUse]]]:
    """Return each collection with its parts, as in Table 2 of the paper."""
    collections = {c["name"]: c for c in work.results["collections"]}
    parts: dict[str, list[DataUse]] = {name: [] for name in collections}
    for entry in work.results["data_use"]:
        pairs = ((entry[key]["malignant"], entry[key]["benign"]) for key in ("lesions", "views"))
        use = DataUse(_used_for(entry, work), entry["cases"], *pairs, entry["rois_augmented"])
        parts[entry["collection"]].append(use)
    return [(collections[name], uses) for name, uses in parts.items()]


def _used_for(entry: Mapping[str, Any], work: WorkFolder) -> str:
    """Return e.g. 'training and held-out folds (splits, depth); training (test)', or 'test set'."""
    trained, evaluated = entry["trained_in"], entry["evaluated_in"]
    if not trained:
        unused = "early stopping" if entry.get("inner_in") else "not used"
        return "test set" if evaluated else unused
    in_folds = [stage for stage in trained if stage in evaluated]
    only = [stage for stage in trained if stage not in evaluated]
    titles = {stage["stage"]: stage["title"] for stage in work.results["stages"]}
    parts = []
    for use, stages in (("training and held-out folds", in_folds), ("training", only)):
        if stages:
            names = f" ({', '.join(titles[stage] for stage in stages)})" if len(titles) > 1 else ""
            parts.append(use + names)
    return "; ".join(parts)


def auc_rows(work: WorkFolder, aucs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sort AUCs: target before other collections, headline before secondary estimators.

    A field `final` is added, which is false for secondary estimators.
    """
    target = work.results["target"]
    rows = [dict(row) | {"final": row["estimator"] not in SECONDARY_ESTIMATORS} for row in aucs]
    names = [*work.approaches, *(row["study"] for row in aucs)]
    return sorted(
        rows,
        key=lambda row: (
            row["task"] != target,
            not row["final"],
            row["task"] if work.compares_approaches else "",
            names.index(row["study"]) if work.compares_approaches else 0,
        ),
    )


def shortcut_rows(work: WorkFolder) -> dict[str, dict[str, dict[str, Mapping[str, Any]]]]:
    """Return the AUCs of trivial predictors by collection, predictor and unit.

    There are none in results of earlier versions.
    """
    rows: dict[str, dict[str, dict[str, Mapping[str, Any]]]] = {}
    for row in work.results.get("shortcuts", []):
        predictors = rows.setdefault(row["collection"], {})
        predictors.setdefault(row["predictor"], {})[row["unit"]] = row
    return rows


def patient_exclusions(work: WorkFolder, collection: Mapping[str, Any]) -> list[str]:
    """Describe cases excluded because of their patients, and the use of an official test set."""
    name, lines = collection["name"], []
    counts = work.folds.get("held_out", {}).get(name)
    if counts:
        excluded = patient_notes.exclusion_note(counts)
        lines.append(f"No patient is in both a training and an evaluation set: {excluded}.")
    if collection.get("official_test_learned"):
        lines.append("The official test set is used for training: this job does not evaluate it.")
    return lines


def exclusions(collection: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Return (reason, number, first items) of the exclusions, the most frequent first."""
    reasons = group_by_reason(collection["left_out"])
    return [(reason, len(items), join_first(items, MAX_NAMED)) for reason, items in reasons]


class NoteRow(NamedTuple):
    """A kind of note on the images of a collection."""

    collection: str
    kind: str
    decision: str  # corrected or noted
    lesion_views: int
    example: str  # first lesion view, and details


def note_rows(work: WorkFolder) -> list[NoteRow]:
    """Return the notes on the images by collection; none for results of early versions."""
    return [
        NoteRow(
            collection["name"],
            note["kind"],
            "corrected" if note["corrected"] else "noted",
            note["lesion_views"],
            ": ".join(filter(None, (note["items"][0], note["detail"]))),
        )
        for collection in work.results["collections"]
        for note in collection.get("notes", [])
    ]


def setting_rows(work: WorkFolder) -> list[tuple[str, str, str | None]]:
    """Return (field, value, default) of the config; default is None if the value equals it."""
    defaults = {f: _format_value(value) for f, value in flatten(default().to_dict()).items()}
    rows = []
    for field, setting in flatten(work.config).items():
        value, standard = _format_value(setting), defaults.get(field, "no such field")
        shown = _file_names(value) if field in PATH_FIELDS else value
        rows.append((field, shown, None if standard == value else standard))
    return rows


def _file_names(paths: str) -> str:
    """Replace 'manifest:/home/me/m.csv' by 'manifest:m.csv', since folders can name a person."""
    split = [path.rstrip("/").rpartition(":") for path in paths.split(", ")]
    return ", ".join(f"{name}{colon}{path.rpartition('/')[2]}" for name, colon, path in split)


def _format_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return np.format_float_positional(value, trim="-")
    return "none" if value is None else str(value)


def duration(seconds: float | None) -> str:
    """Return a time such as '2 h 5 min'."""
    if seconds is None:
        return "not recorded"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (seconds if hours == 0 else 0, "s"))
    return " ".join(f"{n} {u}" for n, u in parts if n) or "under 1 s"
