"""Read a user's table, text or Excel, with what makes a cell unusable."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mtl_jax.data.sources.table import MAX_BYTES, MAX_COLUMNS, MAX_ROWS
from mtl_jax.io.read_csv import (
    ENCODING_NAMES,
    Uneven,
    find_delimiter,
    find_encoding,
    find_header,
    plain,
    read_csv,
)
from mtl_jax.types import InputError

ENCODINGS = ("utf-8-sig", "utf-16", "cp1252")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
WORKBOOKS = (".xlsx", ".xlsm")
OTHER_SPREADSHEETS = (".xls", ".xlsb", ".ods", ".numbers")


@dataclass(frozen=True)
class TableRow:
    """One row: its line, and by column its text.

    `numbers` has the cells that a workbook stores as numbers, `faults` why a cell is unusable,
    `displayed` why one is unusable as an id, and `merged` the value of the merged cells that an
    empty cell belongs to.
    """

    line: int
    cells: dict[str, str]
    numbers: dict[str, float] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    displayed: dict[str, str] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table as text: its column names, its rows, and how it was read.

    `uneven` lists lines and what is wrong with their number of cells.
    """

    path: Path
    columns: list[str]
    rows: list[TableRow]
    notes: list[str]
    uneven: list[tuple[int, str]] = field(default_factory=list)
    unit: str = "line"  # or row, in a workbook

    def where(self, line: int) -> str:
        """Return 'TABLE line 7' for messages."""
        return f"{self.path} {self.unit} {line}"


def read_table(path: Path, known: Sequence[str], sheet: str | None = None) -> Table:
    """Return the rows of a CSV or Excel file.

    `known` are names of its columns, by which the delimiter is found. `sheet` is required if
    several sheets of a workbook hold cells. Raises InputError if the file is not such a table.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such table")
    suffix = path.suffix.lower()
    if suffix in OTHER_SPREADSHEETS:
        raise InputError(f"{path}: {suffix} files are not read: save it as .xlsx or CSV")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; expected a smaller table")
    if suffix in WORKBOOKS:
        # Imported here because importing openpyxl takes a while.
        from mtl_jax.data.from_table.workbook import read_sheet

        table = read_sheet(path, sheet)
    elif sheet is not None:
        raise InputError(f"--sheet {sheet}: {path} is not an Excel workbook (.xlsx)")
    else:
        table = _read_text(path, known)
    if not table.columns:
        raise InputError(f"{path}: empty: expected a header and a row for each lesion in an image")
    if not table.rows and not table.uneven:
        raise InputError(f"{path}: no rows below the header")
    return table


def find_column(columns: Sequence[str], name: str) -> list[str]:
    """Return the columns called `name`, else those that differ in case and punctuation only."""
    exact = [column for column in columns if column == name]
    return exact or [column for column in columns if plain(column) == plain(name) != ""]


def _read_text(path: Path, known: Sequence[str]) -> Table:
    data = path.read_bytes()
    encoding = find_encoding(path, data, ENCODINGS)
    delimiter = find_delimiter(find_header(data.decode(encoding).splitlines()), known)
    uneven: Uneven = []
    cells = read_csv(
        path, delimiter=delimiter, encodings=(encoding,), strip=True, uneven=uneven,
        limits=(MAX_ROWS, MAX_COLUMNS),
    )  # fmt: skip
    columns = cells.columns.tolist()
    rows = list(zip(cells.index.tolist(), cells.to_numpy().tolist(), strict=True))
    wrong: list[tuple[int, str]] = []
    for line, values in uneven:
        # Some programs leave out the empty cells at the end of a row, others add some.
        if any(values[len(columns) :]):
            message = f"{len(values)} cells under {len(columns)} columns: quote cells that hold"
            wrong.append((line, f"{message} the separator, such as numbers with a decimal comma"))
        else:
            rows.append((line, (values + [""] * len(columns))[: len(columns)]))
    separator, name = DELIMITERS[delimiter], ENCODING_NAMES[encoding]
    return Table(
        path,
        columns,
        [TableRow(line, dict(zip(columns, values, strict=True))) for line, values in sorted(rows)],
        [f"{path.name} is read as {name}, its cells separated by {separator}"],
        wrong,
    )
