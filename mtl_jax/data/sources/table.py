"""Read the table of a collection, CSV or XLSX, and find the folder that holds it."""

import contextlib
import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtl_jax.data.table_errors import TableErrors
from mtl_jax.io.read_csv import Uneven, plain, read_csv
from mtl_jax.types import InputError

if TYPE_CHECKING:
    import openpyxl

Row = dict[str, str]

# Limits far above the largest table of any collection that bound the memory.
MAX_BYTES = 32 * 2**20
MAX_ROWS, MAX_COLUMNS = 200_000, 256
MAX_PART_BYTES = 2 * 2**20  # of each part of a workbook except its sheets and texts
MAX_FOLDER_DEPTH = 3


def read_rows(
    path: Path,
    columns: Sequence[str],
    errors: TableErrors,
    *,
    optional: Sequence[str] = (),
    sheet: str | None = None,
) -> list[tuple[str, Row]]:
    """Return ('TABLE line 7', row) of each row below the header of a CSV or XLSX file.

    Columns are matched by name regardless of order, case, blanks and punctuation; unknown columns
    are ignored, and absent `optional` ones are empty. Without `sheet`, or if it is absent, the
    first sheet of a workbook is read. Rows that are longer than the header go to `errors` and are
    left out.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such table")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; expected a smaller table")
    workbook = path.suffix.lower() == ".xlsx"
    lines = iter(_workbook_lines(path, sheet) if workbook else _csv_lines(path, columns))
    header = next((cells for _, cells in lines if any(cells)), [])
    positions = _column_positions(path, header, columns, optional)
    rows = []
    for line, cells in lines:
        if not any(cells):
            continue
        where = f"{path} {'row' if workbook else 'line'} {line}"
        if any(cells[len(header) :]):
            errors.add(where, f"{len(cells)} cells under {len(header)} columns")
            continue
        row = dict.fromkeys((*columns, *optional), "")
        row |= {name: cells[i] for name, i in positions.items() if i < len(cells)}
        rows.append((where, row))
    return rows


def find_root(path: str, marker: str, source: str) -> Path:
    """Return the folder that holds the one file or folder `marker`, up to 3 levels below `path`."""
    top = Path(path)
    if not top.is_dir():
        raise InputError(f"{source}: no such folder {top}")
    for depth in range(MAX_FOLDER_DEPTH + 1):
        matches = sorted(top.glob("/".join([*["*"] * depth, marker])))
        if len(matches) > 1:
            raise InputError(
                f"{source}: {len(matches)} folders below {top} hold {marker}; name one of them"
            )
        if matches:
            return matches[0].parent
    raise InputError(f"{source}: no {marker} in {top}; name the folder that holds it")


def parse_number(row: Row, column: str, where: str) -> float:
    """Return the finite number in a cell; InputError names `where` and the column."""
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {column} {row[column]!r} is invalid: expected a number")
    return value


def _column_positions(
    path: Path, header: list[str], columns: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    names = [plain(name) for name in header]
    missing = [name for name in columns if plain(name) not in names]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}")
    present = [name for name in (*columns, *optional) if plain(name) in names]
    repeated = [name for name in present if names.count(plain(name)) > 1]
    if repeated:
        raise InputError(f"{path}: column {', '.join(repeated)} is repeated; keep one")
    return {name: names.index(plain(name)) for name in present}


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
    with open_workbook(path, read_only=True, data_only=True) as book:
        page = book[sheet] if sheet in book.sheetnames else book.worksheets[0]
        # The dimensions that a sheet states may be wrong.
        page.reset_dimensions()
        return list(_text_rows(page.iter_rows(values_only=True)))


@contextlib.contextmanager
def open_workbook(path: Path, **options: bool) -> Iterator["openpyxl.Workbook"]:
    """Yield an XLSX file that openpyxl opens with `options`; any error names the file."""
    import openpyxl  # here, because few collections have a workbook

    try:
        _reject_zip_bomb(path)
        # openpyxl does not close a damaged file that it opened.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions, which hold no cell
            book = openpyxl.load_workbook(file, keep_links=False, **options)
            try:
                yield book
            finally:
                book.close()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    # openpyxl raises many exception types for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a readable workbook ({reason}): open it in a spreadsheet"
            " program and save it as .xlsx without a password"
        ) from error


def _reject_zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > MAX_BYTES:
            raise InputError(f"larger than {MAX_BYTES >> 20} MiB when unpacked")
        for part in parts:
            streamed = "worksheets/" in part.filename or "sharedStrings" in part.filename
            if part.file_size > MAX_PART_BYTES and not streamed:
                raise InputError(f"its part {part.filename} is too large for a table")
            if part.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in archive.read(part):
                raise InputError("it holds a document type declaration; save the table again")


def _text_rows(rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[int, list[str]]]:
    for line, values in enumerate(rows, start=1):
        too_wide = len(values) > MAX_COLUMNS and any(v is not None for v in values[MAX_COLUMNS:])
        if line > MAX_ROWS or too_wide:
            raise InputError(f"row {line}: more than {MAX_ROWS} rows of {MAX_COLUMNS} columns")
        yield line, [_to_text(value) for value in values[:MAX_COLUMNS]]


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # spreadsheets store integers as floats
    return str(value).strip()
