"""Read the rows of a manifest, or of a table of lesions to score, as text."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from mtl_jax.data.sources import location
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.io.read_csv import Uneven, plain, read_csv
from mtl_jax.types import InputError

Row = dict[str, str]

REQUIRED = ("dataset", "patient_id", "lesion_id", "view", "image_path", "truth")
OPTIONAL = (
    *("modality", "laterality", "frame", "coord_origin", "pixel_um", "spacing_source", "bits"),
    *("polarity", "truth_source", "split", "notes", "intensity_kind", "namespace"),
    "device",
)
# Column of the case: a patient or, in a collection without patient ids, a group of images.
CASE_COLUMNS = ("patient_id", "group_id")
KEEP_ONE = "keep one, group_id only if the collection has no patient ids"
ALIASES = {"bbox": "box"}
KNOWN = (*REQUIRED, "group_id", *OPTIONAL, *location.KINDS)


def case_column(header: Iterable[str]) -> str:
    """Return the column of the case in a header: group_id, or else patient_id."""
    return "group_id" if "group_id" in header else "patient_id"


def read_rows(
    table: Path, required: Sequence[str], errors: TableErrors | None = None
) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    """Return the header, and ('TABLE line 7', row) of each row.

    The columns `required` and one that locates a lesion must be there; `group_id` may be there in
    place of `patient_id`. Cells are stripped, and cells of absent columns are empty. Rows with more
    or fewer cells than the header go to `errors`; without it they raise an error.
    """
    uneven: Uneven = []
    cells = read_csv(table, known=(*KNOWN, *ALIASES), strip=True, uneven=uneven)
    cells.columns = header = [ALIASES.get(name, name) for name in cells.columns]
    header_errors = _header_errors(header, required)
    if header_errors:
        raise InputError(f"{table}: {'; '.join(header_errors)}")
    return header, _iterate(table, cells, uneven, errors)


def describe_unused(header: Sequence[str]) -> str:
    """Return a sentence on unknown columns, or '' if all are known."""
    unused = [name or "(unnamed)" for name in header if name not in KNOWN]
    return f"columns not used: {', '.join(unused)}" if unused else ""


def _header_errors(header: Sequence[str], required: Sequence[str]) -> list[str]:
    """Return what is wrong with a header, also a misspelled column, which would be ignored."""
    expected = {plain(name): ALIASES.get(name, name) for name in (*KNOWN, *ALIASES)}
    present = {name: expected[plain(name)] for name in header if plain(name) in expected}
    errors = [
        f"column {name[:60]!r} is invalid: write {known}"
        for name, known in present.items()
        if name not in KNOWN
    ]
    if not any(header):
        return ["the file is empty: expected a header with the columns of docs/manifest.md"]
    case_columns = [name for name in CASE_COLUMNS if name in present.values()]
    if len(case_columns) > 1:
        errors.append(f"columns {' and '.join(case_columns)}: {KEEP_ONE}")
    given = {*present.values(), *(CASE_COLUMNS if case_columns else ())}
    missing = [name for name in required if name not in given]
    if missing:
        advice = "separate columns by commas, semicolons or tabs"
        if "patient_id" in missing:
            advice += "; a collection without patient ids has group_id"
        errors.append(f"missing column {', '.join(missing)} ({advice})")
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        errors.append(f"column {', '.join(repeated)} is repeated; keep one")
    if not any(kind in present.values() for kind in location.KINDS):
        errors.append(f"missing column: a location, one of {', '.join(location.KINDS)}")
    return errors


def _iterate(
    table: Path, cells: pd.DataFrame, uneven: Uneven, errors: TableErrors | None
) -> Iterator[tuple[str, Row]]:
    lines_of_length: dict[int, list[int]] = {}
    for line, row in uneven:
        lines_of_length.setdefault(len(row), []).append(line)
    for length, lines in lines_of_length.items():
        where = f"{table} line {lines[0]}"
        others = f", as in {len(lines) - 1} more rows" if len(lines) > 1 else ""
        message = (
            f"{where}: {length} cells under {len(cells.columns)} columns{others} (quote a polygon,"
            " and a number with a decimal comma)"
        )
        if errors is None:
            raise InputError(message)
        errors.add(where, message)
    named = cells.loc[:, cells.columns != ""]
    columns = dict.fromkeys((*KNOWN, *named.columns))
    rows = named.reindex(columns=list(columns), fill_value="").to_dict("records")
    for line, row in zip(cells.index, rows, strict=True):
        yield f"{table} line {line}", row
