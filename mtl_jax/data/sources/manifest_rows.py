"""The rows of a manifest or of a table of lesions to be scored: cells of text under its columns.

What the cells mean is for manifest.py to say.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtl_jax.data.sources import location
from mtl_jax.data.sources.table import plain
from mtl_jax.data.table_faults import TableFaults
from mtl_jax.nouns import InputError

Row = dict[str, str]

REQUIRED = ("dataset", "patient_id", "lesion_id", "view", "image_path", "truth")
OPTIONAL = (
    *("modality", "laterality", "frame", "coord_origin", "pixel_um", "spacing_source", "bits"),
    *("polarity", "truth_source", "split", "notes", "intensity_kind", "namespace"),
)
ALIASES = {"bbox": "box"}
KNOWN = (*REQUIRED, *OPTIONAL, *location.KINDS)
DELIMITERS = ",;\t"  # of two that would do, the first


def read_rows(
    table: Path, required: Sequence[str], faults: TableFaults | None = None
) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    """The header, and rows of stripped cells with 'file line n' each, absent columns empty.

    Commas, semicolons or tabs separate the cells, as the header shows. A row of more or fewer cells
    than the header goes to `faults` and is left out; without `faults` it is an InputError.
    InputError: not a CSV, a column of `required`, or every column of a location, is missing, or a
    column is a known one in another spelling.
    """
    lines = _lines(table, (*KNOWN, *ALIASES))
    header = [ALIASES.get(name, name) for name in lines[0][1]] if lines else []
    wrong = _faults_of_header(header, required)
    if wrong:
        raise InputError(f"{table}: {'; '.join(wrong)}")
    return header, _rows(table, header, lines[1:], faults)


def not_used(header: Sequence[str]) -> str:
    """Return a sentence on the columns of `header` that mean nothing here; '' where all do."""
    unused = [name or "(unnamed)" for name in header if name not in KNOWN]
    return f"columns not used: {', '.join(unused)}" if unused else ""


def _faults_of_header(header: Sequence[str], required: Sequence[str]) -> list[str]:
    """A column that is a known one but for case, blanks and signs is a fault: as an unknown one it
    would not be used, and what stands in it be lost."""
    meant = {plain(name): ALIASES.get(name, name) for name in (*KNOWN, *ALIASES)}
    respelled = {name: meant[plain(name)] for name in header if plain(name) in meant}
    wrong = [
        f"column {name[:60]!r}: write {meant}"
        for name, meant in respelled.items()
        if name not in KNOWN
    ]
    there = respelled.values()
    missing = [name for name in required if name not in there]
    if missing:
        wrong.append(
            f"missing column {', '.join(missing)} (comma separated CSV; semicolons or tabs do as"
            " well)"
        )
    double = sorted({name for name in header if name and header.count(name) > 1})
    if double:
        wrong.append(f"column {', '.join(double)} stands twice")
    if not any(kind in there for kind in location.KINDS):
        wrong.append(f"missing column: a location, one of {', '.join(location.KINDS)}")
    return wrong


def _lines(table: Path, known: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The line number and stripped cells of each line that has any."""
    data = table.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data:
        raise InputError(f"{table}: not a CSV in UTF-8 (it is UTF-16 or binary); save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{table}: not a CSV in UTF-8 ({error}); save it as UTF-8") from error
    wanted = set(map(plain, known))
    first = next((line for line in text.splitlines() if line.strip()), "")

    def columns(delimiter: str) -> int:
        return len(wanted & {plain(name) for name in first.split(delimiter)})

    reader = csv.reader(
        io.StringIO(text, newline=""), strict=True, delimiter=max(DELIMITERS, key=columns)
    )
    lines = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append((reader.line_num, stripped))
    except csv.Error as error:
        raise InputError(f"{table} line {reader.line_num}: not a CSV in UTF-8 ({error})") from error
    return lines


def _rows(
    table: Path,
    header: list[str],
    lines: list[tuple[int, list[str]]],
    faults: TableFaults | None,
) -> Iterator[tuple[str, Row]]:
    absent = dict.fromkeys(KNOWN, "")
    for number, cells in lines:
        where = f"{table} line {number}"
        if len(cells) != len(header):
            fault = (
                f"{where}: {len(cells)} cells under {len(header)} columns (a polygon, and a"
                " number with a decimal comma, stands in quotes)"
            )
            if faults is None:
                raise InputError(fault)
            faults.add(where, fault)
            continue
        yield where, absent | {name: cell for name, cell in zip(header, cells, strict=True) if name}
