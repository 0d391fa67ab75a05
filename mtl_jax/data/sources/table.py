"""Rows of a collection's own table, CSV or XLSX, and the folder it stands in.

Every cell comes as text without surrounding blanks, and every row with the place to name in errors.
"""

import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import openpyxl

from mtl_jax.data.table_errors import TableFaults
from mtl_jax.io.read_csv import Uneven, plain, read_csv
from mtl_jax.types import InputError

Row = dict[str, str]

# Far above the largest table of any collection, and below what would fill the memory.
MAX_BYTES = 32 * 2**20
MAX_ROWS, MAX_COLUMNS = 200_000, 256
MAX_PART = 2 * 2**20  # of a workbook, but for its sheets and texts


def read_rows(
    path: Path,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    sheet: str | None = None,
    faults: TableFaults | None = None,
) -> list[tuple[str, Row]]:
    """Return (place, row) of each row below the header; a row maps `columns` and `optional` to
    text.

    Columns are found by name, in any order, whatever their case, blanks and punctuation; others are
    ignored. A CSV may be separated by commas, semicolons or tabs. Of a workbook, `sheet` is read if
    it is there, else the first. An absent optional column is empty. InputError names the file, and
    the line: no such file, not a table, too large, or a column that is missing. A row longer than
    the header goes to `faults` and is left out; without `faults`, it is an InputError.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such table")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB, which is no such table")
    workbook = path.suffix.lower() == ".xlsx"
    lines = iter(_workbook_lines(path, sheet) if workbook else _csv_lines(path, columns))
    header = next((cells for _, cells in lines if any(cells)), [])
    places = _places(path, header, columns, optional)
    collected = TableFaults(path) if faults is None else faults
    rows = []
    for number, cells in lines:
        if not any(cells):
            continue
        place = f"{path} {'row' if workbook else 'line'} {number}"
        if any(cells[len(header) :]):
            collected.add(place, f"{len(cells)} cells under {len(header)} columns")
            continue
        row = dict.fromkeys((*columns, *optional), "")
        row |= {name: cells[i] for name, i in places.items() if i < len(cells)}
        rows.append((place, row))
    if faults is None:
        collected.check()
    return rows


def find_root(path: str, marker: str, source: str) -> Path:
    """Return the folder that holds `marker`, a file or folder: `path` itself or up to three levels
    down.

    InputError: no such folder, no marker, or two of them.
    """
    top = Path(path)
    if not top.is_dir():
        raise InputError(f"{source}: no such folder {top}")
    for depth in range(4):
        found = sorted(top.glob("/".join([*["*"] * depth, marker])))
        if len(found) > 1:
            raise InputError(
                f"{source}: {marker} stands in {len(found)} folders of {top}; name one"
            )
        if found:
            return found[0].parent
    raise InputError(f"{source}: no {marker} in {top}; name the folder that holds it")


def parse_number(row: Row, column: str, place: str) -> float:
    """Return the finite number in a cell. InputError names the place and the column."""
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: {column} {row[column]!r} is not a number")
    return value


def _places(
    path: Path, header: list[str], columns: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    names = [plain(name) for name in header]
    missing = [name for name in columns if plain(name) not in names]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}")
    wanted = [name for name in (*columns, *optional) if plain(name) in names]
    double = [name for name in wanted if names.count(plain(name)) > 1]
    if double:
        raise InputError(f"{path}: column {', '.join(double)} stands twice")
    return {name: names.index(plain(name)) for name in wanted}


def _csv_lines(path: Path, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
    uneven: Uneven = []
    # Exports of older spreadsheets are in Latin-1.
    table = read_csv(
        path, known=columns, encodings=("utf-8-sig", "latin-1"), strip=True, uneven=uneven,
        limits=(MAX_ROWS, MAX_COLUMNS),
    )  # fmt: skip
    rows = zip(table.index.tolist(), table.to_numpy().tolist(), strict=True)
    return [(0, table.columns.tolist()), *sorted([*rows, *uneven])]


def _workbook_lines(path: Path, sheet: str | None) -> list[tuple[int, list[str]]]:
    try:
        _reject_bombs(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions, which hold no cell
            book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
            try:
                page = book[sheet] if sheet in book.sheetnames else book.worksheets[0]
                # The size that a sheet claims may be wrong; its rows are what they are.
                page.reset_dimensions()
                return list(_texts(page.iter_rows(values_only=True)))
            finally:
                book.close()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    # openpyxl raises many types on a damaged file; whichever it is, the file is invalid.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable workbook ({reason})") from error


def _reject_bombs(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > MAX_BYTES:
            raise InputError(f"unpacks to more than {MAX_BYTES >> 20} MiB, which is no such table")
        for part in parts:
            streamed = "worksheets/" in part.filename or "sharedStrings" in part.filename
            if part.file_size > MAX_PART and not streamed:
                raise InputError(f"its part {part.filename} is too large for a table")
            if part.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in archive.read(part):
                raise InputError("holds a document type, which no spreadsheet writes")


def _texts(rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[int, list[str]]]:
    for line, values in enumerate(rows, start=1):
        wide = len(values) > MAX_COLUMNS and any(v is not None for v in values[MAX_COLUMNS:])
        if line > MAX_ROWS or wide:
            raise InputError(f"row {line}: more than {_most()}")
        yield line, [_text(value) for value in values[:MAX_COLUMNS]]


def _most() -> str:
    return f"{MAX_ROWS} rows of {MAX_COLUMNS} columns, which is no such table"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # spreadsheets keep whole numbers as floats
    return str(value).strip()
