"""Reads a table of scores from a CSV file, and rejects one that could be misread."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mtl_jax.io.read_csv import Uneven, read_csv
from mtl_jax.roc import score_columns
from mtl_jax.roc.score_table import Table, format_key
from mtl_jax.types import InputError

OPTIONAL = ("task", "laterality", "view", "roi")  # as if absent where no row has an entry
LESION = ("task", "case", "laterality", "lesion")  # which tell one lesion from another
ROI_FIELDS = (*LESION, "view", "label", "score")  # as far as they are there; the same row
DECIMAL_COMMAS = "if numbers have decimal commas, write them with points"
TRUTH = {"benign": "0", "malignant": "1"}  # as in lesions.csv of tools/score.py
LATERALITIES = {
    "l": "L",
    "left": "L",
    "left breast": "L",
    "r": "R",
    "right": "R",
    "right breast": "R",
}


def read_scores(path: Path) -> Table:
    """Read a CSV with columns label (0 or 1) and score, and optionally the other fields of
    `columns.NAMES`.

    Raises ValueError naming the file and what is wrong: no such column, a column twice, a row of
    more or fewer cells than the header, a cell that is no number, a patient without an id, a row
    twice, a lesion of two labels.
    """
    rows, uneven = _rows(path)
    header, numbers = rows.columns.tolist(), rows.index.tolist()
    places = score_columns.find_columns(path, header)
    _reject_uneven_rows(path, rows, uneven)
    cells = {f: rows.iloc[:, i].tolist() for f, i in places.items()}
    labels = _parse_labels(path, header[places["label"]], numbers, cells["label"])
    scores = _parse_numbers(path, header[places["score"]], numbers, cells["score"])
    empty = [f for f in OPTIONAL if f in cells and not any(cells[f])]
    ids = {f: c for f, c in cells.items() if f not in (*score_columns.REQUIRED, *empty)}
    if "laterality" in ids:
        head = header[places["laterality"]]
        ids["laterality"] = _parse_lateralities(path, head, numbers, ids["laterality"])
    if "case" in ids:
        _reject_missing_cases(path, header[places["case"]], numbers, ids["case"])
    notes = score_columns.column_notes(header, places, empty)
    table = Table(str(path), labels, scores, ids, numbers, tuple(notes))
    if _has_view_column(table) or any(score % 1 for score in scores):
        _reject_repeated_rows(table)
    _reject_two_labels(table)
    return table


def _rows(path: Path) -> tuple[pd.DataFrame, Uneven]:
    """Return the rows as long as the header, and the others."""
    uneven: Uneven = []
    try:
        rows = read_csv(path, strip=True, uneven=uneven)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError as error:
        raise ValueError(str(error)) from None
    first = rows.columns[0] if len(rows.columns) else ""
    if first.casefold().startswith("sep="):
        raise ValueError(f"{path}: begins with {first!r}; delete that line, and separate"
                         " cells with commas")  # fmt: skip
    if rows.empty and not uneven:
        raise ValueError(f"{path}: holds no row below its header")
    return rows, uneven


def _reject_uneven_rows(path: Path, rows: pd.DataFrame, uneven: Uneven) -> None:
    """Raise ValueError where a cell is under no heading or missing: it may be half a number."""
    columns = len(rows.columns)
    for number, row in uneven[:1]:
        surplus = row[columns:]
        hint = DECIMAL_COMMAS if any(surplus) else "delete the comma at its end"
        raise ValueError(
            f"{path}: {len(uneven)} of {len(rows) + len(uneven)} rows have not as many cells as"
            f" the header; the first is line {number}, with {len(row)} cells under {columns}"
            f" columns; {hint if surplus else 'is a cell missing?'}"
        )
    unnamed = rows.loc[:, rows.columns == ""]
    for number, row in unnamed[(unnamed != "").any(axis=1)].iloc[:1].iterrows():
        raise ValueError(
            f"{path}: {next(filter(None, row))!r} in line {number} is in a column without a name:"
            f" name the column; {DECIMAL_COMMAS}"
        )


def _reject_missing_cases(
    path: Path, head: str, lines: Sequence[int], cells: Sequence[str]
) -> None:
    if "" in cells:
        raise ValueError(
            f"{path}: {cells.count('')} of {len(cells)} rows have no {head}, the first in line"
            f" {lines[cells.index('')]}; fill it in, or delete the column where each row is a"
            " patient of its own"
        )


def _has_view_column(table: Table) -> bool:
    """Return whether two equal rows must be one. Where no column names the view or the ROI,
    ratings of whole numbers repeat: the two views of a lesion often have the same one."""
    return any(field in table.ids for field in ("view", "roi"))


def _reject_repeated_rows(table: Table) -> None:
    """Raise ValueError where one ROI has two rows, or where two rows that name a case or a lesion
    do not differ in anything that is read: what stands twice counts twice."""
    rows = table.ids | {"label": table.labels, "score": table.scores}
    with_roi, without = (
        [f for f in fields if f in rows] for fields in (("task", "roi"), ROI_FIELDS)
    )
    apart = [f for f in ("lesion", "view", "roi") if f not in rows] or ["roi"]
    first: dict[tuple, int] = {}
    for i, line in enumerate(table.lines):
        row = {f: column[i] for f, column in rows.items()}
        if not any(row.get(f) for f in ("case", "lesion", "roi")):
            continue
        fields = with_roi if row.get("roi") else without
        key = tuple(row[f] for f in fields)
        before = first.setdefault((fields is with_roi, *key), line)
        if before != line:
            cure = "an id of its own" if fields is with_roi else f"a column {' or '.join(apart)}"
            raise ValueError(
                f"{table.name}: {format_key(fields, key)} appears more than once, in lines {before}"
                f" and {line}; delete one, or tell the rows apart by {cure}"
            )


def _reject_two_labels(table: Table) -> None:
    """Raise ValueError where the rows of one lesion differ in their label, whatever the unit."""
    if not {"case", "lesion"} <= set(table.ids):
        return
    fields = [f for f in LESION if f in table.ids]
    first: dict[tuple, int] = {}
    for i, key in enumerate(zip(*(table.ids[f] for f in fields), strict=True)):
        before = first.setdefault(key, i)
        if "" not in key and {table.labels[before], table.labels[i]} == {0.0, 1.0}:
            here, there = (f"{table.labels[j]:g} in line {table.lines[j]}" for j in (before, i))
            raise ValueError(
                f"{table.name}: {format_key(fields, key)} has both truths, label {here} and {there}"
            )


def _parse_lateralities(
    path: Path, head: str, lines: Sequence[int], cells: Sequence[str]
) -> list[str]:
    """L or R, as 'left' and 'L' are the same breast."""
    for line, cell in zip(lines, cells, strict=True):
        if cell.casefold() not in LATERALITIES:
            raise ValueError(
                f"{path}: {head} in line {line} is {cell!r}, neither L nor R; correct it, or rename"
                " the column or delete it"
            )
    return [LATERALITIES[cell.casefold()] for cell in cells]


def _parse_labels(path: Path, head: str, lines: Sequence[int], cells: Sequence[str]) -> list[float]:
    """0.0 benign, 1.0 malignant, which may be written as words."""
    expected = "neither 0 (benign) nor 1 (malignant)"
    for line, cell in zip(lines, cells, strict=True):
        if not cell:
            raise ValueError(f"{path}: {head} in line {line} is empty, {expected}; fill it in, or"
                             " delete the row")  # fmt: skip
    labels = _parse_numbers(path, head, lines, [TRUTH.get(cell.casefold(), cell) for cell in cells])
    for line, label in zip(lines, labels, strict=True):
        if label not in (0.0, 1.0):
            raise ValueError(f"{path}: {head} in line {line} is {label:g}, {expected}")
    return labels


def _parse_numbers(
    path: Path, head: str, lines: Sequence[int], cells: Sequence[str]
) -> list[float]:
    out = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            # Python takes 1_000 for a number, and no other program does.
            out.append(float(cell.replace("_", " ")))
        except ValueError:
            hint = f"; {DECIMAL_COMMAS}" if "," in cell else ""
            raise ValueError(
                f"{path}: {head} in line {line} is no number: {cell!r}{hint}"
            ) from None
        if not math.isfinite(out[-1]):
            raise ValueError(f"{path}: {head} in line {line} is not finite: {cell!r}")
    return out
