"""Reads scores from CSV files and pairs two of them. It computes no statistic."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mtl_jax.roc.lesions import view_to_lesion

# Each field may be headed by any of these.
NAMES = {
    "label": ("label",),
    "score": ("score",),
    "case": ("case", "case_id"),
    "lesion": ("lesion", "lesion_id"),
    "view": ("view",),
    "roi": ("roi", "roi_id"),
}


@dataclass(frozen=True)
class Table:
    """Scored rows: `labels` and `scores`, and the ids that the file has, by field."""

    name: str
    labels: list[float]
    scores: list[float]
    ids: dict[str, list[str]]


def read(path: Path) -> Table:
    """Reads a CSV with columns label (0 or 1) and score, and optionally case, lesion, view, roi.

    Raises ValueError naming the file and what is wrong.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no CSV file: {error}") from None
    if not rows:
        raise ValueError(f"{path}: holds no row below its header")
    heads = {f: next((h for h in names if h in rows[0]), None) for f, names in NAMES.items()}
    for needed in ("label", "score"):
        if heads[needed] is None:
            found = ", ".join(str(h) for h in rows[0])
            raise ValueError(f"{path}: has no column {needed}; its columns are {found}")
    numbers = {f: _numbers(path, heads[f], rows) for f in ("label", "score")}
    fields = [f for f in NAMES if f not in numbers and heads[f] is not None]
    ids = {f: [row[heads[f]] for row in rows] for f in fields}
    return Table(str(path), numbers["label"], numbers["score"], ids)


def by_lesion(table: Table) -> Table:
    """One row a lesion, its score the mean over its rows."""
    missing = [f for f in ("case", "lesion") if f not in table.ids]
    if missing:
        raise ValueError(f"{table.name}: --unit lesion needs a column {' and '.join(missing)}")
    try:
        labels, scores, cases, lesions = view_to_lesion(
            table.labels, table.scores, table.ids["case"], table.ids["lesion"]
        )
    except ValueError as error:
        raise ValueError(f"{table.name}: {error}") from None
    ids = {"case": list(cases), "lesion": list(lesions)}
    return Table(table.name, list(labels), list(scores), ids)


def pair(table: Table, other: Table) -> list[float]:
    """The scores of `other` in the order of the rows of `table`, found by the ids that both have,
    or by row where they share none. Raises ValueError where the rows do not pair."""
    shared = [f for f in table.ids if f in other.ids]
    keys, other_keys = (_keys(t, shared) for t in (table, other))
    at = {key: i for i, key in enumerate(other_keys)}
    for t, k in ((table, keys), (other, other_keys)):
        if len(set(k)) < len(k):
            twice = Counter(k).most_common(1)[0][0]
            raise ValueError(f"{t.name}: {_say(shared, twice)} appears more than once; "
                             "a column roi would tell its rows apart")  # fmt: skip
    for t, here, there, place in ((other, keys, at, table), (table, other_keys, set(keys), other)):
        lost = [key for key in here if key not in there]
        if lost:
            raise ValueError(f"{t.name}: {len(lost)} rows of {place.name} have no partner, "
                             f"the first is {_say(shared, lost[0])}")  # fmt: skip
    order = [at[key] for key in keys]
    wrong = [i for i, j in enumerate(order) if table.labels[i] != other.labels[j]]
    if wrong:
        raise ValueError(f"{other.name}: {len(wrong)} labels differ from {table.name}, "
                         f"the first is of {_say(shared, keys[wrong[0]])}")  # fmt: skip
    return [other.scores[j] for j in order]


def _keys(table: Table, fields: list[str]) -> list[tuple]:
    columns: Iterable = (table.ids[f] for f in fields) if fields else [range(len(table.labels))]
    return list(zip(*columns, strict=True))


def _say(fields: list[str], key: tuple) -> str:
    return ", ".join(f"{f} {k}" for f, k in zip(fields or ["row"], key, strict=True))


def _numbers(path: Path, head: str, rows: list[dict]) -> list[float]:
    out = []
    for line, row in enumerate(rows, start=2):
        try:
            out.append(float(row[head]))
        except (TypeError, ValueError):
            raise ValueError(f"{path}: {head} in row {line} is no number: {row[head]!r}") from None
    return out
