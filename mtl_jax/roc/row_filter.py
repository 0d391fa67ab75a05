"""Choose rows of a table by the values of its columns, as `--where approach=mttl` does."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mtl_jax.io.read_csv import plain
from mtl_jax.roc.class_names import list_values
from mtl_jax.roc.score_table import format_key
from mtl_jax.types import InputError

# Columns that distinguish several scores of one ROI, as in predictions.csv of a work folder.
RUN_COLUMNS = ("approach", "stage", "network", "split", "fold", "initialization", "seed")
RUN_COLUMNS += ("run", "run_id", "model", "reader")


def parse_condition(text: str) -> tuple[str, str]:
    """Return column and value of `--where COLUMN=VALUE`; InputError if there is no column."""
    column, equals, value = text.partition("=")
    if not (equals and column.strip()):
        raise InputError(
            f"--where {text} is invalid: expected COLUMN=VALUE, such as --where approach=mttl"
        )
    return plain(column), value.strip()


def join_conditions(conditions: Sequence[tuple[str, str]], option: str) -> dict[str, str]:
    """Return the conditions by column; InputError if a column has two values."""
    joined: dict[str, str] = {}
    for column, value in conditions:
        if joined.setdefault(column, value) != value:
            raise InputError(
                f"{option}: {column} is both {joined[column]} and {value}; give one value for a"
                " column"
            )
    return joined


def select_rows(path: Path, rows: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows with these values; ValueError if a column is not there, or no row is left."""
    for column, value in where.items():
        matches = [i for i, name in enumerate(rows.columns) if plain(name) == column]
        if len(matches) != 1:
            fault = "no column" if not matches else "several columns"
            columns = ", ".join(filter(None, rows.columns))
            raise ValueError(f"{path}: --where: {fault} {column}; its columns are {columns}")
        cells = rows.iloc[:, matches[0]]
        selected = rows[cells == value]
        if selected.empty:
            raise ValueError(
                f"{path}: --where: no row has {column}={value}; its values are"
                f" {list_values(cells.tolist())}"
            )
        rows = selected
    return rows


def fold_notes(rows: pd.DataFrame) -> list[str]:
    """Return a note if the rows are of several folds, whose scores are of different networks."""
    columns = [i for i, name in enumerate(rows.columns) if plain(name) == "fold"]
    folds = list(dict.fromkeys(fold for i in columns for fold in rows.iloc[:, i] if fold))
    if len(folds) < 2:
        return []
    return [
        f"the scores of {len(folds)} folds are pooled; the headline of a report is the mean of the"
        f" AUCs of the folds; for one fold add --where fold={folds[0]}"
    ]


def reject_several_runs(path: Path, rows: pd.DataFrame, ids: Mapping[str, int]) -> None:
    """Raise ValueError if one ROI or lesion has scores of several runs, which would be averaged.

    `ids` are the column numbers of the fields that identify a row.
    """
    run_columns = {
        name: i for i, name in enumerate(rows.columns) if plain(name) in map(plain, RUN_COLUMNS)
    }
    if not (ids and run_columns):
        return
    keys = list(zip(*(rows.iloc[:, i] for i in ids.values()), strict=True))
    values = {name: rows.iloc[:, i].tolist() for name, i in run_columns.items()}
    first_row: dict[tuple, int] = {}
    for i, key in enumerate(keys):
        first = first_row.setdefault(key, i)
        different = [name for name, cells in values.items() if cells[i] != cells[first]]
        if different:
            listed = "; ".join(f"{name}: {list_values(values[name])}" for name in different)
            raise ValueError(
                f"{path}: {format_key(list(ids), key)} has {keys.count(key)} scores, first in lines"
                f" {rows.index[first]} and {rows.index[i]}, that differ in {listed}; choose rows"
                f" with --where, such as --where {different[0]}={values[different[0]][first]}"
            )
