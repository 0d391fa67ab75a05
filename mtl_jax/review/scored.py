"""Reads what tools/score.py left, of one model or of several side by side. Knows no page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtl_jax.nouns import InputError

ORDERS = ("table", "score", "views", "models")  # what a list can be sorted by
TRUTHS = ("malignant", "benign", "unknown")


class Seen(NamedTuple):
    """A lesion as one model saw it: the folder's name, the model's record, the lesion's record."""

    place: str
    model: dict[str, Any]
    task: str
    lesion: dict[str, Any]


class Lesion(NamedTuple):
    """A lesion in all folders that hold it. Disagreements are differences of scores: of its views
    by one model at most, and of models; 0 where there is one."""

    number: int
    case_id: str
    lesion_id: str
    truth: str
    tasks: tuple[str, ...]
    score: float  # by the first model
    views_differ: float
    models_differ: float
    seen: tuple[Seen, ...]


class Filter(NamedTuple):
    """Which lesions are listed, and in which order; '' and None ask nothing."""

    task: str = ""
    truth: str = ""
    low: float | None = None
    high: float | None = None
    flagged: bool = False
    order: str = "table"


class Scored(NamedTuple):
    """All lesions, the folder of each place, and whether any model is of simulated images."""

    lesions: tuple[Lesion, ...]
    places: dict[str, Path]
    use: str
    phantom: bool


def read(folder: Path) -> Scored:
    """The scored folder `folder`, or all those in it. InputError: there is none, or it is damaged.

    The same case and lesion in two of them is one lesion seen by two models.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one made by tools/score.py")
    found = sorted(folder.glob("scores.json")) or sorted(folder.glob("*/scores.json"))
    if not found:
        raise InputError(f"{folder}: no scores.json here or one level down; run tools/score.py")
    by_lesion: dict[tuple[str, str], list[Seen]] = {}
    places, uses, phantom = {}, [], False
    for path in found:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            uses.append(str(said["use"]))
            phantom |= bool(said["phantom"])
            for lesion in said["lesions"]:
                key = (str(lesion["case_id"]), str(lesion["lesion_id"]))
                seen = Seen(path.parent.resolve().name, said["model"], str(said["task"]), lesion)
                by_lesion.setdefault(key, []).append(seen)
            for rows in by_lesion.values():
                _lesion(0, rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); score again") from error
        places[path.parent.resolve().name] = path.parent
    lesions = tuple(_lesion(i, rows) for i, rows in enumerate(by_lesion.values()))
    return Scored(lesions, places, uses[0], phantom)


def chosen(lesions: Sequence[Lesion], asked: Filter) -> list[Lesion]:
    """Those that `asked` lets through, in its order: largest first but for 'table'."""
    kept = [
        one
        for one in lesions
        if (not asked.task or asked.task in one.tasks)
        and (not asked.truth or asked.truth == one.truth)
        and (asked.low is None or one.score >= asked.low)
        and (asked.high is None or one.score <= asked.high)
        and (not asked.flagged or any(seen.lesion["flags"] for seen in one.seen))
    ]
    keys = {
        "score": lambda one: -one.score,
        "views": lambda one: -one.views_differ,
        "models": lambda one: -one.models_differ,
    }
    return sorted(kept, key=keys[asked.order]) if asked.order in keys else kept


def _lesion(number: int, seen: Sequence[Seen]) -> Lesion:
    first = seen[0].lesion
    scores = [float(one.lesion["score"]) for one in seen]
    views = [[float(view["score"]) for view in one.lesion["views"]] for one in seen]
    return Lesion(
        number,
        str(first["case_id"]),
        str(first["lesion_id"]),
        str(first["truth"]) or "unknown",
        tuple(dict.fromkeys(one.task for one in seen)),
        scores[0],
        max(max(row) - min(row) for row in views),
        max(scores) - min(scores),
        tuple(seen),
    )
