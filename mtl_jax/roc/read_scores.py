"""Read a table of scores from a CSV file, and reject ambiguous ones."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mtl_jax.io.read_csv import Uneven, read_csv
from mtl_jax.roc import row_filter, score_columns
from mtl_jax.roc.class_names import Classes, read_labels
from mtl_jax.roc.score_table import Table, format_key
from mtl_jax.types import InputError

IGNORED_IF_EMPTY = ("task", "laterality", "view", "roi")
LESION = ("task", "case", "laterality", "lesion")  # identify a lesion
ROI_FIELDS = (*LESION, "view", "label", "score")  # identify a row without a roi id
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
DECIMAL_COMMAS = "write decimal numbers with points, not commas"
LATERALITIES = {
    "l": "L",
    "left": "L",
    "left breast": "L",
    "r": "R",
    "right": "R",
    "right breast": "R",
}


def read_scores(
    path: Path, where: Mapping[str, str] | None = None, classes: Classes | None = None
) -> Table:
    """Read a CSV file with the columns label and score and those of `score_columns.NAMES`.

    `where` selects rows by the values of columns, and `classes` are the words of the negative and
    the positive class (class_names.py). Rows without a label are left out, which is noted. Raises
    ValueError with the file and the line if a column is missing or repeated, a row has more or
    fewer cells than the header, a cell is not a number, a patient has no id, a row is repeated, a
    lesion has two labels, or one ROI has scores of several runs.
    """
    rows, uneven = _read_rows(path)
    header = rows.columns.tolist()
    columns = score_columns.find_columns(path, header)
    _reject_uneven_rows(path, rows, uneven)
    rows, notes = _select_rows(path, rows, columns, where or {})
    lines = rows.index.tolist()
    cells = {f: rows.iloc[:, i].tolist() for f, i in columns.items()}
    labels = read_labels(path, header[columns["label"]], lines, cells["label"], classes)
    scores = _parse_numbers(path, header[columns["score"]], lines, cells["score"])
    empty = [f for f in IGNORED_IF_EMPTY if f in cells and not any(cells[f])]
    ids = {f: c for f, c in cells.items() if f not in (*score_columns.REQUIRED, *empty)}
    if "laterality" in ids:
        name = header[columns["laterality"]]
        ids["laterality"] = _parse_lateralities(path, name, lines, ids["laterality"])
    if "case" in ids:
        _reject_missing_cases(path, header[columns["case"]], lines, ids["case"])
    notes = [*score_columns.column_notes(header, columns, empty, where or {}), *notes]
    conditions = ", ".join(f"{column}={value}" for column, value in (where or {}).items())
    name = f"{path} ({conditions})" if where else str(path)
    table = Table(name, labels, scores, ids, lines, tuple(notes))
    if _identifies_rois(table) or any(score % 1 for score in scores):
        _reject_repeated_rows(table)
    _reject_two_labels(table)
    return table


def _select_rows(
    path: Path, rows: pd.DataFrame, columns: Mapping[str, int], where: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that `where` selects and that have a label, and notes on their numbers."""
    selected = row_filter.select_rows(path, rows, where)
    notes = []
    if where:
        notes.append(f"rows used: {len(selected)} of {len(rows)}")
    ids = {f: i for f, i in columns.items() if f not in score_columns.REQUIRED}
    row_filter.reject_several_runs(path, selected, ids)
    notes += row_filter.fold_notes(selected)
    label = columns["label"]
    labelled = selected[selected.iloc[:, label] != ""]
    n_unlabelled = len(selected) - len(labelled)
    if labelled.empty:
        raise ValueError(
            f"{path}: {rows.columns[label]} is empty in all {n_unlabelled} rows; fill it in"
        )
    if n_unlabelled:
        notes.append(
            f"rows left out: {n_unlabelled} of {len(selected)}, whose {rows.columns[label]} is"
            " empty"
        )
    return labelled, notes


def _read_rows(path: Path) -> tuple[pd.DataFrame, Uneven]:
    """Return the rows with as many cells as the header, and the other rows."""
    uneven: Uneven = []
    try:
        rows = read_csv(path, strip=True, uneven=uneven)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError as error:
        raise ValueError(str(error)) from None
    first = rows.columns[0] if len(rows.columns) else ""
    if first.casefold().startswith("sep="):
        raise ValueError(
            f"{path}: begins with {first!r}; delete that line, and separate cells with commas"
        )
    if len(rows.columns) == 1:
        _reject_other_separator(path, first)
    if rows.empty and not uneven:
        raise ValueError(f"{path}: has no row below its header")
    return rows, uneven


def _reject_other_separator(path: Path, header: str) -> None:
    """Raise ValueError if the only cell of the header holds other separators than commas."""
    for mark, name in SEPARATORS.items():
        if mark in header:
            raise ValueError(f"{path}: its cells are separated by {name}: save it with commas")


def _reject_uneven_rows(path: Path, rows: pd.DataFrame, uneven: Uneven) -> None:
    """Raise ValueError if a row has too many or too few cells, as after a decimal comma."""
    n_columns = len(rows.columns)
    for number, row in uneven[:1]:
        surplus = row[n_columns:]
        hint = DECIMAL_COMMAS if any(surplus) else "delete the comma at the end of the line"
        raise ValueError(
            f"{path}: {len(uneven)} of {len(rows) + len(uneven)} rows have more or fewer cells than"
            f" the header; the first is line {number}, with {len(row)} cells for {n_columns}"
            f" columns; {hint if surplus else 'add the missing cell'}"
        )
    unnamed = rows.loc[:, rows.columns == ""]
    for number, row in unnamed[(unnamed != "").any(axis=1)].iloc[:1].iterrows():
        raise ValueError(
            f"{path}: {next(filter(None, row))!r} in line {number} is in a column without a name;"
            f" name the column, or {DECIMAL_COMMAS}"
        )


def _reject_missing_cases(
    path: Path, column: str, lines: Sequence[int], cells: Sequence[str]
) -> None:
    if "" in cells:
        raise ValueError(
            f"{path}: {cells.count('')} of {len(cells)} rows have no {column}; the first is line"
            f" {lines[cells.index('')]}; fill it in, or delete the column if each row is"
            " another patient"
        )


def _identifies_rois(table: Table) -> bool:
    """Return whether the table has a column view or roi.

    Without it, two views of a lesion often have the same integer rating.
    """
    return any(field in table.ids for field in ("view", "roi"))


def _reject_repeated_rows(table: Table) -> None:
    """Raise ValueError if a ROI has two rows, or two rows of a case or lesion are equal.

    A repeated row would count twice.
    """
    rows = table.ids | {"label": table.labels, "score": table.scores}
    roi_fields, row_fields = (
        [f for f in fields if f in rows] for fields in (("task", "roi"), ROI_FIELDS)
    )
    new_columns = [f for f in ("lesion", "view", "roi") if f not in rows] or ["roi"]
    first_line: dict[tuple, int] = {}
    for i, line in enumerate(table.lines):
        row = {f: column[i] for f, column in rows.items()}
        if not any(row.get(f) for f in ("case", "lesion", "roi")):
            continue
        fields = roi_fields if row.get("roi") else row_fields
        key = tuple(row[f] for f in fields)
        line_before = first_line.setdefault((fields is roi_fields, *key), line)
        if line_before != line:
            has_roi = fields is roi_fields
            cure = "give each its own id" if has_roi else f"add a column {' or '.join(new_columns)}"
            raise ValueError(
                f"{table.name}: {format_key(fields, key)} appears more than once, in lines"
                f" {line_before} and {line}; delete one, or {cure}"
            )


def _reject_two_labels(table: Table) -> None:
    """Raise ValueError if the rows of a lesion have different labels, also with --unit view."""
    if not {"case", "lesion"} <= set(table.ids):
        return
    fields = [f for f in LESION if f in table.ids]
    first_row: dict[tuple, int] = {}
    for i, key in enumerate(zip(*(table.ids[f] for f in fields), strict=True)):
        j = first_row.setdefault(key, i)
        if "" not in key and table.labels[j] != table.labels[i]:
            labels = " and ".join(f"{table.labels[k]:g} in line {table.lines[k]}" for k in (j, i))
            raise ValueError(
                f"{table.name}: {format_key(fields, key)} has two labels, {labels}; correct one"
            )


def _parse_lateralities(
    path: Path, column: str, lines: Sequence[int], cells: Sequence[str]
) -> list[str]:
    """Return L or R of each row, which may be spelled out."""
    for line, cell in zip(lines, cells, strict=True):
        if cell.casefold() not in LATERALITIES:
            raise ValueError(
                f"{path}: {column} in line {line} is {cell!r}; expected L or R: correct it, or"
                " rename or delete the column"
            )
    return [LATERALITIES[cell.casefold()] for cell in cells]


def _parse_numbers(
    path: Path, column: str, lines: Sequence[int], cells: Sequence[str]
) -> list[float]:
    numbers = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            # Python reads 1_000 as a number; other programs do not.
            numbers.append(float(cell.replace("_", " ")))
        except ValueError:
            cure = DECIMAL_COMMAS if "," in cell else "correct it or delete the row"
            raise ValueError(
                f"{path}: {column} in line {line} is not a number: {cell!r}; {cure}"
            ) from None
        if not math.isfinite(numbers[-1]):
            raise ValueError(
                f"{path}: {column} in line {line} is not finite: {cell!r}; correct it or"
                " delete the row"
            )
    return numbers
