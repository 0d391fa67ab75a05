"""Reads a table of scores from a CSV file, and refuses one that could be misread."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtl_jax.roc.table import Table, say

# Each field may be headed by any of these.
NAMES = {
    "label": ("label",),
    "score": ("score",),
    "task": ("task", "collection", "dataset"),
    "case": ("case", "case_id"),
    "laterality": ("laterality",),
    "lesion": ("lesion", "lesion_id"),
    "view": ("view",),
    "roi": ("roi", "roi_id"),
}
NUMBERS = ("label", "score")
LESION = ("task", "case", "laterality", "lesion")  # which tell one lesion from another
REPEATED = (*LESION, "view", "label", "score")  # as far as they are there; the same row
DECIMAL_COMMAS = "if numbers have decimal commas, write them with points"


def read(path: Path) -> Table:
    """Read a CSV with columns label (0 or 1) and score, and optionally the other fields of NAMES.

    Raises ValueError naming the file and what is wrong: no such column, a column twice, a row of
    more or fewer cells than the header, a row twice, a lesion of two labels.
    """
    header, lines = _cells(path)
    columns = _columns(path, header)
    _refuse_uneven_rows(path, header, lines)
    cells = {f: [row[i] for _, row in lines] for f, i in columns.items()}
    numbers = [number for number, _ in lines]
    labels, scores = (_numbers(path, header[columns[f]], numbers, cells[f]) for f in NUMBERS)
    ids = {f: cells[f] for f in NAMES if f in cells and f not in NUMBERS}
    for field in ("task", "laterality"):
        if not any(ids.get(field, ())):  # a column without a single entry
            ids.pop(field, None)
    if "laterality" in ids:
        ids["laterality"] = _sides(path, numbers, ids["laterality"])
    table = Table(str(path), labels, scores, ids)
    _refuse_repeated_rows(table, numbers)
    _refuse_two_labels(table, numbers)
    return table


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row below it with the number of its line; blank rows are left out."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no CSV file: {error}") from None
    rows = [(number, row) for number, row in rows if any(row)]
    if len(rows) < 2:
        raise ValueError(f"{path}: holds no row below its header")
    (_, header), *lines = rows
    return header, lines


def _refuse_uneven_rows(
    path: Path, header: list[str], lines: Sequence[tuple[int, list[str]]]
) -> None:
    """Raise ValueError where a cell is under no heading or missing: it may be half a number."""
    wrong = [(number, row) for number, row in lines if len(row) != len(header)]
    if wrong:
        number, row = wrong[0]
        surplus = row[len(header) :]
        hint = DECIMAL_COMMAS if any(surplus) else "delete the comma at its end"
        raise ValueError(
            f"{path}: {len(wrong)} of {len(lines)} rows have not as many cells as the header; the"
            f" first is line {number}, with {len(row)} cells under {len(header)} columns;"
            f" {hint if surplus else 'is a cell missing?'}"
        )
    for number, row in lines:
        for name, cell in zip(header, row, strict=True):
            if cell and not name:
                raise ValueError(
                    f"{path}: {cell!r} in line {number} is in a column without a name: name the"
                    f" column; {DECIMAL_COMMAS}"
                )


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """The place of each field that the file has."""
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise ValueError(f"{path}: column {', '.join(twice)} stands twice in its header")
    places = {}
    for field, names in NAMES.items():
        found = [name for name in names if name in header]
        if len(found) > 1:
            raise ValueError(
                f"{path}: columns {' and '.join(found)} both name the {field}; keep one"
            )
        if found:
            places[field] = header.index(found[0])
    for needed in NUMBERS:
        if needed not in places:
            semicolons = "; separate cells with commas" if ";" in "".join(header) else ""
            raise ValueError(
                f"{path}: has no column {needed}; its columns are {', '.join(filter(None, header))}"
                f"{semicolons}"
            )
    return places


def _refuse_repeated_rows(table: Table, numbers: Sequence[int]) -> None:
    """Raise ValueError where one ROI has two rows, or where two rows with ids of case, lesion and
    view do not differ: what stands twice counts twice."""
    rows = table.ids | {"label": table.labels, "score": table.scores}
    if "roi" in rows:
        fields = [f for f in ("task", "roi") if f in rows]
    elif {"case", "lesion", "view"} <= set(rows):
        fields = [f for f in REPEATED if f in rows]
    else:
        return
    first: dict[tuple, int] = {}
    for key, number in zip(zip(*(rows[f] for f in fields), strict=True), numbers, strict=True):
        if all(key[fields.index(f)] != "" for f in fields if f in ("roi", "case", "lesion")):
            before = first.setdefault(key, number)
            if before != number:
                raise ValueError(
                    f"{table.name}: {say(fields, key)} appears more than once, in lines {before}"
                    f" and {number}; delete one"
                )


def _refuse_two_labels(table: Table, numbers: Sequence[int]) -> None:
    """Raise ValueError where the rows of one lesion differ in their label, whatever the unit."""
    if not {"case", "lesion"} <= set(table.ids):
        return
    fields = [f for f in LESION if f in table.ids]
    first: dict[tuple, int] = {}
    for i, key in enumerate(zip(*(table.ids[f] for f in fields), strict=True)):
        before = first.setdefault(key, i)
        if "" not in key and {table.labels[before], table.labels[i]} == {0.0, 1.0}:
            raise ValueError(
                f"{table.name}: {say(fields, key)} has both truths, label"
                f" {table.labels[before]:g} in line {numbers[before]} and {table.labels[i]:g} in"
                f" line {numbers[i]}"
            )


def _sides(path: Path, lines: Sequence[int], cells: Sequence[str]) -> list[str]:
    """L or R, as 'left' and 'L' are the same breast."""
    sides = [cell[:1].upper() for cell in cells]
    for line, side, cell in zip(lines, sides, cells, strict=True):
        if side not in ("L", "R"):
            raise ValueError(
                f"{path}: laterality in line {line} is {cell!r}, neither L nor R; fill it in, or"
                " delete the column"
            )
    return sides


def _numbers(path: Path, head: str, lines: Sequence[int], cells: Sequence[str]) -> list[float]:
    out = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            # Python takes 1_000 for a number, and no other program does.
            out.append(float(cell.replace("_", " ")))
        except ValueError:
            raise ValueError(f"{path}: {head} in line {line} is no number: {cell!r}") from None
    return out
