"""Turn the rows of a user's table into rows of a manifest."""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data.from_table import boxes
from mtl_jax.data.from_table.columns import resolve_columns
from mtl_jax.data.from_table.mapping import MAPPED, PIXEL_UNITS, TableMapping
from mtl_jax.data.from_table.numbers import decide_decimal, parse_number, split_numbers
from mtl_jax.data.from_table.read_table import Table, TableRow
from mtl_jax.data.from_table.words import LEFT_OUT, VALUES, Translation, split_view
from mtl_jax.data.image_names import ImageMatcher
from mtl_jax.data.sources import location
from mtl_jax.data.sources.manifest_rows import CASE_COLUMNS, KNOWN
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging import dicom
from mtl_jax.imaging.image_size import read_size
from mtl_jax.imaging.value_checks import MAX_UM
from mtl_jax.types import InputError, prefix_errors

IDS = (*CASE_COLUMNS, "lesion_id")
NUMBERS_IN_CELL = ("centre", "circle")  # row;column and row;column;radius
PIXEL_UM = (1.0, MAX_UM)  # no film or detector has smaller pixels
# What spreadsheets write for a number too long for its cell, and for a formula that failed.
SHORTENED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)
FORMULA_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!")


class ManifestRows(NamedTuple):
    """The rows of a manifest, each with its place in the table, and what was decided."""

    rows: list[tuple[str, dict[str, str]]]
    notes: list[str]
    outside: bool  # some images or masks are not in the folder of the manifest or below


@dataclass
class Draft:
    """A row while its cells are translated; `faults` collects everything wrong with it."""

    source: TableRow
    cells: dict[str, str]
    faults: list[str] = field(default_factory=list)
    pending: bool = False  # incomplete because of an error that the table lists once
    image: Path | None = None
    pixel_um: tuple[float, float] | None = None
    states_pixel_um: bool = False  # perhaps in a cell that cannot be used

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Collect an InputError that the block raises."""
        try:
            yield
        except InputError as error:
            self.faults.append(str(error))


def make_rows(
    table: Table,
    mapping: TableMapping,
    dataset: str,
    matcher: ImageMatcher,
    folder: Path,
    errors: TableErrors,
) -> ManifestRows:
    """Return the rows of the manifest that will be in `folder`.

    All faults go to `errors`, and the rows that have any are left out. Raises InputError if the
    table lacks a column.
    """
    columns, mapping = resolve_columns(table, mapping)
    maker = _RowMaker(table, mapping, columns, errors)
    for line, message in table.uneven:
        errors.add(table.where(line), message)
    drafts = maker.read_words([Draft(row, {"dataset": dataset}) for row in table.rows])
    for draft in drafts:
        maker.read_texts(draft)
        with draft.collect():
            draft.image = matcher.find(maker.cell(draft, "image_path"))
            draft.cells["image_path"] = _relative_path(draft.image, folder)
        with draft.collect():
            mask = draft.cells.get("mask_path")
            if mask and not (folder / mask).is_file():
                draft.cells["mask_path"] = _relative_path(matcher.find(mask, "mask"), folder)
    for name in NUMBERS_IN_CELL:
        maker.read_centres(drafts, name)
    maker.read_pixel_sizes(drafts)
    for draft in drafts:
        maker.fill_from_header(draft)
    if mapping.box:
        maker.read_boxes(drafts)
    rows = []
    for draft in drafts:
        where = table.where(draft.source.line)
        for fault in dict.fromkeys(draft.faults):
            errors.add(where, fault)
        if not (draft.faults or draft.pending):
            rows.append((where, dict.fromkeys(KNOWN, "") | draft.cells))
    notes = [*table.notes, *maker.notes(), *matcher.notes()]
    real_folder = os.path.realpath(folder)
    outside = any(
        not Path(os.path.realpath(folder / cells[name])).is_relative_to(real_folder)
        for _, cells in rows
        for name in ("image_path", "mask_path")
    )
    return ManifestRows(rows, notes, outside)


class _RowMaker:
    """Reads the cells of drafts; counts what it decides."""

    def __init__(
        self, table: Table, mapping: TableMapping, columns: dict[str, str], errors: TableErrors
    ) -> None:
        self._table, self._mapping, self._columns = table, mapping, columns
        self._errors = errors
        self._counts: Counter[str] = Counter()
        self._notes = [
            *(f"{name}: column {column!r}" for name, column in columns.items()),
            *(f"{name}: {value} in all rows" for name, value in mapping.constant.items()),
            *(
                f"{name}: {', '.join(map(repr, words))} is {value or 'empty'}"
                for name, values in mapping.value.items()
                for value, words in values.items()
            ),
        ]
        used = {*columns.values(), *mapping.box}
        unused = [name for name in table.columns if name and name not in used]
        if unused:
            self._notes.append(f"columns not used: {', '.join(unused)}")
        if not {"truth_source"} & {*columns, *mapping.constant}:
            self._notes.append("truth_source: unstated in all rows (see --truth-source)")

    def notes(self) -> list[str]:
        """Return sentences on everything that was decided."""
        return [*self._notes, *(f"{kind}: {count}" for kind, count in self._counts.items())]

    def cell(self, draft: Draft, name: str) -> str:
        """Return the text of a field of a row; raise InputError if the cell is unusable."""
        column = self._columns.get(name)
        if column is None:
            return self._mapping.constant.get(name, "")
        text = self._usable(draft, column, name in IDS)
        if name in IDS and SHORTENED.fullmatch(text):
            raise InputError(
                f"{name} {text!r} was shortened by a spreadsheet: format the column as text and"
                " enter it again"
            )
        return text

    def read_words(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Translate the words of all drafts; return those with a reference standard.

        Each field with words that are not known is one error that lists them all.
        """
        used = [name for name in VALUES if name in self._columns or name in self._mapping.constant]
        translations = {name: Translation(name, self._mapping.value.get(name, {})) for name in used}
        kept = []
        for draft in drafts:
            with draft.collect():
                truth = self.cell(draft, "truth")
                self._translate(draft, truth, translations["truth"])
                if not truth or draft.cells["truth"] == LEFT_OUT:
                    self._counts[f"rows left out: truth {truth or '(empty)'}"] += 1
                    continue
            kept.append(draft)
            for name in used:
                if name not in ("truth", "view"):
                    with draft.collect():
                        self._translate(draft, self.cell(draft, name), translations[name])
            if "view" in used:
                with draft.collect():
                    self._read_view(draft, translations["view"])
        for translation in translations.values():
            if translation.unknown:
                self._errors.add(str(self._table.path), translation.error())
        return kept

    def _translate(self, draft: Draft, text: str, translation: Translation) -> None:
        value = translation.translate(text, draft.source.line)
        draft.cells[translation.name] = value
        draft.pending |= bool(text and not value and not translation.is_given(text))

    def _read_view(self, draft: Draft, translation: Translation) -> None:
        """Read a view that may name the side, too."""
        text, side = self.cell(draft, "view"), ""
        if not translation.is_given(text):
            side, text = split_view(text)
        self._translate(draft, text, translation)
        stated = draft.cells.get("laterality")
        if side and stated and stated != side:
            raise InputError(f"laterality {stated} contradicts the view, which names {side}")
        if side and not stated:
            draft.cells["laterality"] = side
            self._counts["sides are taken from the column of the view"] += 1

    def read_texts(self, draft: Draft) -> None:
        """Copy the fields that are neither words, numbers nor paths."""
        for name in MAPPED:
            if name not in VALUES and name not in ("image_path", "pixel_um"):
                with draft.collect():
                    text = self.cell(draft, name)
                    if text or name in self._columns:
                        draft.cells[name] = text
        for name in IDS:
            if name in draft.cells and not draft.cells[name]:
                draft.faults.append(f"{name} is empty")

    def read_centres(self, drafts: Sequence[Draft], name: str) -> None:
        """Write the numbers of centres or circles, such as '12,5;30', with decimal points."""
        column = self._columns.get(name, "")
        parts = {
            draft.source.line: draft.cells.get(name, "").replace(" ", "").split(";")
            for draft in drafts
        }
        form = location.FORMS[name]
        count = form.count(";") + 1
        with_commas = {
            line: texts
            for line, texts in parts.items()
            if len(texts) == count and "," in "".join(texts)
        }
        if not with_commas:
            return
        mark = self._decimal(
            [(line, text) for line, texts in parts.items() for text in texts], column
        )
        for draft in drafts:
            if texts := with_commas.get(draft.source.line):
                expected = f"{name} {draft.cells[name]!r} is invalid: expected {form}"
                with draft.collect(), prefix_errors(expected):
                    numbers = [self._number(draft, column, text, mark) for text in texts]
                    draft.cells[name] = ";".join(map(_format, numbers))

    def read_pixel_sizes(self, drafts: Sequence[Draft]) -> None:
        """Read the pixel sizes of the table in the unit of --pixel-unit."""
        column = self._columns.get("pixel_um", "")
        unit = PIXEL_UNITS[self._mapping.pixel_unit]
        texts = {}
        for draft in drafts:
            draft.states_pixel_um = True
            with draft.collect():
                text = self.cell(draft, "pixel_um")
                draft.states_pixel_um = bool(text)
                texts[draft.source.line] = re.split(r"[;\\]", text) if text else []
        mark = self._decimal([(n, one) for n, parts in texts.items() for one in parts], column)
        for draft in drafts:
            parts = texts.get(draft.source.line)
            if not parts:
                continue
            with draft.collect():
                sizes = [unit * self._number(draft, column, one, mark) for one in parts]
                if len(sizes) > 2:
                    raise InputError(f"pixel_um: {len(sizes)} numbers; expected one or two")
                for size in sizes:
                    if not PIXEL_UM[0] <= size <= PIXEL_UM[1]:
                        raise InputError(
                            f"pixel size {parts[0]} {self._mapping.pixel_unit} cannot be: expected"
                            f" {PIXEL_UM[0]:g} to {PIXEL_UM[1]:g} um; is --pixel-unit right?"
                        )
                draft.pixel_um = sizes[0], sizes[-1]
                draft.cells["pixel_um"] = ";".join(_format(size) for size in sizes)

    def fill_from_header(self, draft: Draft) -> None:
        """Fill what the table does not state from a DICOM header; then name the lesion."""
        cells = draft.cells
        if draft.image is not None and dicom.is_dicom(draft.image):
            with draft.collect():
                header = dicom.describe_header(draft.image, _frame(draft))
                for name in ("view", "laterality"):
                    if not cells.get(name) and name not in self._columns and header.get(name):
                        cells[name] = header[name]
                        self._counts[f"{name}s are taken from DICOM headers"] += 1
                if draft.pixel_um is None and header["spacing_um"]:
                    draft.pixel_um = tuple(header["spacing_um"])
        is_read = "view" in cells or "view" not in self._columns
        if is_read and not cells.get("view") and not draft.pending:
            draft.faults.append("view is empty")
        if self._mapping.one_lesion_per_breast:
            cells["lesion_id"] = cells.get("laterality", "")
            if not cells["lesion_id"]:
                draft.faults.append("--one-lesion-per-breast needs a laterality, which is empty")

    def read_boxes(self, drafts: Sequence[Draft]) -> None:
        """Read the boxes, check that their form fits all images, and write them in pixels."""
        mapping = self._mapping
        form, columns = mapping.box_form, list(mapping.box)
        if not form:
            form, columns = boxes.infer_form(columns)
        if not mapping.unit and any(map(boxes.names_mm, columns)):
            self._errors.add(
                str(self._table.path),
                f"--box {','.join(columns)}: a name says mm: give --unit mm, or --unit px",
            )
            mapping = replace(mapping, unit="mm")  # to find the other faults
        rows = self._place_boxes(drafts, columns, mapping.unit)
        known = list(rows.values())
        # Who counts the first pixel as 1 says that the unit is the pixel.
        if not (mapping.unit or mapping.first_pixel) and boxes.may_be_mm(known, form):
            self._errors.add(
                str(self._table.path),
                f"--box {','.join(columns)}: the boxes may be in mm: most have decimals, and all"
                " fit their images as mm, too: give --unit mm or --unit px",
            )
        if not form:
            for draft in drafts:
                draft.pending = True
            fitting = boxes.fitting_forms(known, mapping.unit, mapping.first_pixel)
            which = " or ".join(f"{one} ({boxes.FORM_NAMES[one]})" for one in fitting)
            self._errors.add(
                str(self._table.path),
                f"--box {','.join(columns)}: the form of the boxes is not known from these names:"
                f" give --box-form xywh, corners or rowcol; all rows fit {which or 'none of them'}",
            )
            return
        faulty = False
        for draft in drafts:
            row = rows.get(draft.source.line)
            if row is not None:
                box = boxes.to_pixels(row, form, mapping.unit, mapping.first_pixel)
                if fault := boxes.fault(box, row.size):
                    faulty = True
                    shown = ";".join(f"{number:g}" for number in row.numbers)
                    draft.faults.append(f"box {shown} ({form}): {fault}")
                draft.cells["box"] = ";".join(_format(edge) for edge in box)
        # A form that the user stated is questioned only if it is wrong for some row.
        if faulty or not mapping.box_form:
            for suggestion in boxes.suggest_form(
                known, columns, form, mapping.unit, mapping.first_pixel
            ):
                self._errors.add(str(self._table.path), f"--box {','.join(columns)}: {suggestion}")
        self._notes.append(_describe_box(mapping, form, columns))

    def _place_boxes(
        self, drafts: Sequence[Draft], columns: Sequence[str], unit: str
    ) -> dict[int, boxes.RowBox]:
        """Return by line the box of each row with the size of its image; others are faults."""
        numbers = self._box_numbers(drafts, columns)
        column = self._columns.get("pixel_um")
        cure = f"column {column!r} is empty" if column else "--map pixel_um=COLUMN"
        rows: dict[int, boxes.RowBox] = {}
        for draft in drafts:
            line = draft.source.line
            if draft.image is None or line not in numbers:
                continue
            with draft.collect():
                size = read_size(draft.image, _frame(draft))
                if unit != "mm" or draft.pixel_um is not None:
                    rows[line] = boxes.RowBox(numbers[line], size, draft.pixel_um)
                elif not draft.states_pixel_um:  # else it is a fault already
                    raise InputError(f"a box in mm needs the pixel size: {cure}")
        return rows

    def _box_numbers(
        self, drafts: Sequence[Draft], columns: Sequence[str]
    ) -> dict[int, boxes.Numbers]:
        """Return the four numbers of each row that has them; others are faults of their rows."""
        texts: dict[int, list[str]] = {}
        for draft in drafts:
            with draft.collect():
                cells = [self._usable(draft, column) for column in columns]
                parts = split_numbers(cells[0]) if len(columns) == 1 else cells
                if not any(parts):
                    raise InputError("the box is empty")
                if len(parts) != 4 or not all(parts):
                    raise InputError(f"box {'; '.join(parts)}: expected four numbers")
                texts[draft.source.line] = parts
        sources = columns if len(columns) == 4 else columns * 4
        marks = {
            column: self._decimal(
                [
                    (line, part)
                    for line, parts in texts.items()
                    for source, part in zip(sources, parts, strict=True)
                    if source == column
                ],
                column,
            )
            for column in columns
        }
        numbers: dict[int, boxes.Numbers] = {}
        for draft in drafts:
            if draft.source.line in texts:
                with draft.collect():
                    first, second, third, fourth = (
                        self._number(draft, column, part, marks[column])
                        for column, part in zip(sources, texts[draft.source.line], strict=True)
                    )
                    numbers[draft.source.line] = first, second, third, fourth
        return numbers

    def _usable(self, draft: Draft, column: str, is_id: bool = False) -> str:
        source = draft.source
        if column in source.faults:
            raise InputError(f"column {column!r}: {source.faults[column]}")
        text = " ".join(source.cells[column].split())
        if text.upper() in FORMULA_ERRORS:
            raise InputError(f"column {column!r}: {text} is the error of a formula: correct it")
        if is_id and column in source.displayed:
            raise InputError(f"column {column!r}: {source.displayed[column]}")
        if text or column not in source.merged:
            return text
        if not is_id:
            raise InputError(
                f"column {column!r}: the cell is merged with others: only ids are filled in;"
                " unmerge the cells and fill them"
            )
        self._counts[f"empty cells of {column!r} are filled in from merged cells"] += 1
        return source.merged[column]

    def _decimal(self, texts: Sequence[tuple[int, str]], column: str) -> str:
        """Return the decimal mark of a column; an ambiguous one is an error of the table."""
        stored = {row.line for row in self._table.rows if column in row.numbers}
        try:
            in_text = [(line, text) for line, text in texts if line not in stored]
            return decide_decimal(in_text, column, self._mapping.decimal)
        except InputError as error:
            self._errors.add(str(self._table.path), str(error))
            return "."

    def _number(self, draft: Draft, column: str, text: str, mark: str) -> float:
        if column in draft.source.numbers:
            return draft.source.numbers[column]
        try:
            return parse_number(text, mark)
        except InputError as error:
            raise InputError(f"column {column!r}: {error}") from error


def _describe_box(mapping: TableMapping, form: str, columns: Sequence[str]) -> str:
    how = "as stated" if mapping.box_form else "by the names of the columns"
    start = "mm from the outer corner of the first pixel"
    if mapping.unit != "mm":
        start = f"pixels; the first one is {mapping.first_pixel}"
    return f"box: {','.join(columns)} as {form} ({boxes.FORM_NAMES[form]}), {how}; {start}"


def _relative_path(image: Path, folder: Path) -> str:
    """Return the path of an image from the folder of the manifest."""
    here = Path(os.path.abspath(folder))
    if image.is_relative_to(here):
        return image.relative_to(here).as_posix()
    # '..' leads out of the real folder, also if its path has links.
    return Path(os.path.relpath(os.path.realpath(image), os.path.realpath(folder))).as_posix()


def _frame(draft: Draft) -> int | None:
    text = draft.cells.get("frame", "")
    return int(text) if text.isdecimal() else None


def _format(value: float) -> str:
    """Return a number to a thousandth without zeros at its end."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
