"""Rows of the report's tables, from what the work folder holds. Computes no statistic."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax import patient_notes
from mtl_jax.config import default
from mtl_jax.config_diff import flat
from mtl_jax.exclusion_reasons import by_reason, shortened
from mtl_jax.report.read_workdir import SECONDARY, WorkFolder

PLACES = ("data.sources", "data.crosswalk", "data.cache", "weights")  # settings that hold paths
SHOWN = 3  # items named of those left out for one reason


class DataUse(NamedTuple):
    """A part of a collection: what it was used for, and how many of each; lesions and views as
    (malignant, benign)."""

    used_for: str
    cases: int
    lesions: tuple[int, int]
    views: tuple[int, int]
    rois_augmented: int


def data_rows(work: WorkFolder) -> list[tuple[dict[str, Any], list[DataUse]]]:
    """Each collection with its parts: Table 2 of the paper, from the stages that ran."""
    collections = {c["name"]: c for c in work.results["collections"]}
    parts: dict[str, list[DataUse]] = {name: [] for name in collections}
    for entry in work.results["data_use"]:
        pairs = ((entry[key]["malignant"], entry[key]["benign"]) for key in ("lesions", "views"))
        use = DataUse(_used_for(entry, work), entry["cases"], *pairs, entry["rois_augmented"])
        parts[entry["collection"]].append(use)
    return [(collections[name], uses) for name, uses in parts.items()]


def _used_for(entry: Mapping[str, Any], work: WorkFolder) -> str:
    """'training and held-out folds (splits, depth); training (test)', 'test set', 'not used'."""
    trained, evaluated = entry["trained_in"], entry["evaluated_in"]
    if not trained:
        return "test set" if evaluated else "not used"
    in_folds = [stage for stage in trained if stage in evaluated]
    only = [stage for stage in trained if stage not in evaluated]
    ran = [stage["stage"] for stage in work.results["stages"]]
    parts = []
    for what, stages in (("training and held-out folds", in_folds), ("training", only)):
        if stages:
            named = f" ({', '.join(map(_words, stages))})" if len(ran) > 1 else ""
            parts.append(what + named)
    return "; ".join(parts)


def _words(stage: str) -> str:
    return stage.replace("_", "-") if stage == "cross_validation" else stage.replace("_", " ")


def auc_rows(work: WorkFolder, aucs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`aucs` with whether each is of all scored cases: the target's first, each approach whole
    before its folds; then other collections'."""
    target = work.results["target"]
    final = [dict(area) | {"final": area["estimator"] not in SECONDARY} for area in aucs]
    names = [*work.approaches, *(area["study"] for area in aucs)]
    return sorted(
        final,
        key=lambda a: (
            a["task"] != target,
            not a["final"],
            a["task"] if work.compares_approaches else "",
            names.index(a["study"]) if work.compares_approaches else 0,
        ),
    )


def patient_exclusions(work: WorkFolder, collection: Mapping[str, Any]) -> list[str]:
    """What was not learned so that no patient is learned and tested; and whether an official test
    set was learned."""
    name, lines = collection["name"], []
    counts = work.folds.get("held_out", {}).get(name)
    if counts:
        lines.append(f"No patient is learned and tested: {patient_notes.not_learned(counts)}.")
    if collection.get("official_test_learned"):
        lines.append("Its official test set is learned, as it is not evaluated in this job.")
    return lines


def left_out(collection: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """(reason, how many, the first of them) of what is not in the data, the commonest first."""
    reasons = by_reason(collection["left_out"])
    return [(reason, len(items), shortened(items, SHOWN)) for reason, items in reasons]


class NoteRow(NamedTuple):
    """A kind of note on the images of a collection."""

    collection: str
    kind: str
    decision: str  # corrected or noted
    lesion_views: int
    example: str


def note_rows(work: WorkFolder) -> list[NoteRow]:
    """What was noticed about the facts of the images, by collection, corrections first; nothing of
    results written before notes were counted."""
    return [
        NoteRow(
            collection["name"],
            note["kind"],
            "corrected" if note["corrected"] else "noted",
            note["lesion_views"],
            _example(note),
        )
        for collection in work.results["collections"]
        for note in collection.get("notes", [])
    ]


def _example(note: Mapping[str, Any]) -> str:
    """The first lesion view with a note, and the numbers of that one."""
    return ": ".join(filter(None, (note["items"][0], note["detail"])))


def settings(work: WorkFolder) -> list[tuple[str, str, str | None]]:
    """(field, value, default) of the config; default is None where the value is the default."""
    usual = {field: _shown(value) for field, value in flat(default().to_dict()).items()}
    return [
        (
            field,
            _without_folders(value) if field in PLACES else value,
            None if usual.get(field) == value else usual.get(field, "no such field"),
        )
        for field, given in flat(work.config).items()
        for value in [_shown(given)]
    ]


def _without_folders(places: str) -> str:
    """'manifest:m.csv' for 'manifest:/home/me/m.csv': folders tell of a person or machine."""
    split = [place.rstrip("/").rpartition(":") for place in places.split(", ")]
    return ", ".join(f"{name}{colon}{path.rpartition('/')[2]}" for name, colon, path in split)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return np.format_float_positional(value, trim="-")
    return "none" if value is None else str(value)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest if hours == 0 else 0, "s"))
    return " ".join(f"{n} {u}" for n, u in parts if n) or "under 1 s"
