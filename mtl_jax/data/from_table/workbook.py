"""Read a sheet of an Excel workbook, with the cells that a spreadsheet changed or hides."""

import datetime
import re
from pathlib import Path

from openpyxl.cell.cell import Cell
from openpyxl.utils import get_column_letter
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from mtl_jax.data.from_table.read_table import Table, TableRow
from mtl_jax.data.sources.table import MAX_COLUMNS, MAX_ROWS, open_workbook
from mtl_jax.types import InputError

MAX_CELLS = 4_000_000
# Formats that show an integer as _text writes it.
_PLAIN_FORMAT = re.compile(r"General|@|#|#,##0|0+", re.IGNORECASE)
EXACT = 10**15  # a spreadsheet keeps 15 digits of a number


def read_sheet(path: Path, name: str | None) -> Table:
    """Return the sheet `name`, or the only one that holds cells, of an .xlsx file."""
    with open_workbook(path, data_only=True) as book:
        sheet = _choose(book, path, name)
        header_line, header = _header(sheet)
        with open_workbook(path) as formulas:
            rows = _rows(sheet, formulas[sheet.title], header_line, header)
        notes = [f"{path.name}: sheet {sheet.title!r}"]
        hidden = sum(sheet.row_dimensions[row.line].hidden for row in rows)
        if hidden:
            notes.append(f"{hidden} rows that are hidden in the workbook are used, too")
    return Table(path, header, rows, notes, unit="row")


def _choose(book: Workbook, path: Path, name: str | None) -> Worksheet:
    titles = [sheet.title for sheet in book.worksheets]
    if name is not None:
        if name not in titles:
            raise InputError(f"--sheet {name}: no such sheet; it has {', '.join(titles)}")
        filled = [book[name]]
    else:
        filled = [sheet for sheet in book.worksheets if sheet.calculate_dimension() != "A1:A1"]
    if len(filled) > 1:
        named = ", ".join(sheet.title for sheet in filled)
        raise InputError(f"several sheets hold cells: choose one with --sheet ({named})")
    if not filled:
        raise InputError("no sheet holds a table")
    sheet = filled[0]
    too_large = sheet.max_row > MAX_ROWS or sheet.max_row * sheet.max_column > MAX_CELLS
    if too_large or sheet.max_column > MAX_COLUMNS:
        raise InputError(
            f"sheet {sheet.title} has {sheet.max_row} rows and {sheet.max_column} columns: delete"
            " the empty rows and columns that are formatted, or save it as CSV"
        )
    return sheet


def _header(sheet: Worksheet) -> tuple[int, list[str]]:
    """Return the first row that is not empty, and its number; names are '' in empty cells."""
    for line, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        names = ["" if value is None else " ".join(str(value).split()) for value in values]
        if any(names):
            return line, names
    return 0, []


def _rows(
    sheet: Worksheet, formulas: Worksheet, header_line: int, header: list[str]
) -> list[TableRow]:
    merged = {
        (line, column): _text(sheet.cell(area.min_row, area.min_col))
        for area in sheet.merged_cells.ranges
        if area.min_row > header_line
        for line in range(area.min_row, area.max_row + 1)
        for column in range(area.min_col, area.max_col + 1)
    }
    rows = []
    for cells in sheet.iter_rows(min_row=header_line + 1):
        line = cells[0].row
        row = TableRow(line, {name: "" for name in header})
        for position, (name, cell) in enumerate(zip(header, cells, strict=False), start=1):
            row.cells[name] = _text(cell)
            if isinstance(cell.value, int | float) and not isinstance(cell.value, bool):
                row.numbers[name] = float(cell.value)
            fault = _fault(cell, formulas.cell(line, position))
            if fault:
                row.faults[name] = fault
            if name in row.numbers and not _PLAIN_FORMAT.fullmatch(cell.number_format):
                row.displayed[name] = (
                    f"{_place(cell)} holds {row.cells[name]}, which the format"
                    f" {cell.number_format} shows in another way: enter the id as text, as it is"
                    " shown"
                )
            if cell.value is None and merged.get((line, position)):
                row.merged[name] = merged[line, position]
        if any(row.cells.values()) or row.faults:
            rows.append(row)
    return rows


def _text(cell: Cell) -> str:
    """Return a cell as the sheet shows it, as far as ids need: zeros in front are kept."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if float(value).is_integer() and abs(value) < EXACT:
            padded = re.fullmatch(r"0+", cell.number_format)
            return str(int(value)).zfill(len(padded[0]) if padded else 1)
        return format(value, ".15g")
    return " ".join(str(value).split())


def _place(cell: Cell) -> str:
    return f"cell {get_column_letter(cell.column)}{cell.row}"


def _fault(cell: Cell, formula: Cell) -> str:
    """Return why a cell cannot be used, '' if it can."""
    value = cell.value
    place = _place(cell)
    if value is None and formula.data_type == "f":
        return f"{place} is a formula without a stored value: open and save the workbook"
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta):
        return (
            f"{place} is a date or time ({value}), into which spreadsheets turn entries such as"
            " 3-4: format the column as text and enter it again"
        )
    if isinstance(value, int | float) and abs(value) >= EXACT:
        return (
            f"{place} is a number of more than 15 digits, of which spreadsheets lose the last:"
            " format the column as text and enter it again"
        )
    return ""
