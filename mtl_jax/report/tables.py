"""Rows of the report's tables, from what the work folder holds. Computes no statistic."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax import patient_notes
from mtl_jax.config import default
from mtl_jax.report.folder import FINAL, Work

PLACES = ("data.sources", "data.crosswalk", "data.cache", "weights")  # settings that hold paths
SHOWN = 3  # items named of those left out for one reason


class Sizes(NamedTuple):
    """How many of each; lesions and views as (malignant, benign)."""

    cases: int
    lesions: tuple[int, int]
    views: tuple[int, int]

    def less(self, other: "Sizes") -> "Sizes":
        """What is left; no case is on both sides (the study refuses leaks)."""
        return Sizes(
            self.cases - other.cases,
            (self.lesions[0] - other.lesions[0], self.lesions[1] - other.lesions[1]),
            (self.views[0] - other.views[0], self.views[1] - other.views[1]),
        )


def data_rows(work: Work) -> list[tuple[dict[str, Any], list[tuple[str, Sizes]]]]:
    """Each collection with its parts, (what it was used for, its sizes): Table 2 of the paper."""
    return [(c, _parts(work, c)) for c in work.results["collections"]]


def _parts(work: Work, collection: Mapping[str, Any]) -> list[tuple[str, Sizes]]:
    name = collection["name"]
    lesions, views = collection["lesions"], collection["views"]
    whole = Sizes(
        collection["cases"],
        (lesions["malignant"], lesions["benign"]),
        (views["malignant"], views["benign"]),
    )
    if not any(name in run["tasks"] for run in work.runs):
        return [("not used", whole)]
    scored = _scored(work, name)
    rest = whole.less(scored)
    if work.config["study"] == "test":
        used = ("training", "test")
    elif name == work.results["target"]:
        used = ("test, not used", f"training and scoring in {work.config['folds']} folds")
    else:
        used = ("training in every fold", "scored")
    return [(what, part) for what, part in zip(used, (rest, scored), strict=True) if part.cases]


def _scored(work: Work, task: str) -> Sizes:
    """The scored part of a collection; each approach that learns it scores the same."""
    for scored in work.scores.values():
        rows = np.flatnonzero(scored.task == task)
        if len(rows):
            lesions = {(scored.case_id[i], scored.lesion_id[i]): scored.label[i] for i in rows}
            malignant = int(sum(lesions.values())), int(scored.label[rows].sum())
            return Sizes(
                len(set(scored.case_id[rows].tolist())),
                (malignant[0], len(lesions) - malignant[0]),
                (malignant[1], len(rows) - malignant[1]),
            )
    return Sizes(0, (0, 0), (0, 0))


def area_rows(work: Work, areas: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`areas` with whether each is of all scored cases: the target's first, each approach whole
    before its folds; then other collections'."""
    target = work.results["target"]
    final = [dict(area) | {"final": area["cases"] in FINAL or not work.pooled} for area in areas]
    names = [*work.approaches, *(area["study"] for area in areas)]
    return sorted(
        final,
        key=lambda a: (
            a["task"] != target,
            not a["final"],
            a["task"] if work.pooled else "",
            names.index(a["study"]) if work.pooled else 0,
        ),
    )


def kept_apart(work: Work, collection: Mapping[str, Any]) -> list[str]:
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
    reasons = Counter(reason for _, reason in collection["left_out"])
    return [
        (reason, count, _first([i for i, r in collection["left_out"] if r == reason]))
        for reason, count in reasons.most_common()
    ]


def _first(items: list[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more


def settings(work: Work) -> list[tuple[str, str, str | None]]:
    """(field, value, default) of the config; default is None where the value is the default."""
    usual = dict(_flat(default().to_dict()))
    return [
        (
            field,
            _without_folders(value) if field in PLACES else value,
            None if usual.get(field) == value else usual.get(field, "no such field"),
        )
        for field, value in _flat(work.config)
    ]


def _without_folders(places: str) -> str:
    """'manifest:m.csv' for 'manifest:/home/me/m.csv': folders tell of a person or machine."""
    split = [place.rstrip("/").rpartition(":") for place in places.split(", ")]
    return ", ".join(f"{name}{colon}{path.rpartition('/')[2]}" for name, colon, path in split)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield prefix + name, ", ".join(map(str, value)) or "none"
        elif isinstance(value, float):
            yield prefix + name, np.format_float_positional(value, trim="-")
        else:
            yield prefix + name, "none" if value is None else str(value)


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest if hours == 0 else 0, "s"))
    return " ".join(f"{n} {u}" for n, u in parts if n) or "under 1 s"
