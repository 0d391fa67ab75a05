"""The rows of a manifest or of a table of lesions to be scored: cells of text under its columns.

What the cells mean is for manifest.py to say.
"""

from collections.abc import Iterator, Sequence
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
)
ALIASES = {"bbox": "box"}
KNOWN = (*REQUIRED, *OPTIONAL, *location.KINDS)


def read_rows(
    table: Path, required: Sequence[str], faults: TableErrors | None = None
) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    """Yield the header, and rows of stripped cells with 'file line n' each, absent columns empty.

    Commas, semicolons or tabs separate the cells, as the header shows. A row of more or fewer cells
    than the header goes to `faults` and is left out; without `faults` it is an InputError.
    InputError: not a CSV, a column of `required`, or every column of a location, is missing, or a
    column is a known one in another spelling.
    """
    uneven: Uneven = []
    cells = read_csv(table, known=(*KNOWN, *ALIASES), strip=True, uneven=uneven)
    cells.columns = header = [ALIASES.get(name, name) for name in cells.columns]
    wrong = _faults_of_header(header, required)
    if wrong:
        raise InputError(f"{table}: {'; '.join(wrong)}")
    return header, _rows(table, cells, uneven, faults)


def describe_unused(header: Sequence[str]) -> str:
    """Return a sentence on the columns of `header` that mean nothing here; '' where all do."""
    unused = [name or "(unnamed)" for name in header if name not in KNOWN]
    return f"columns not used: {', '.join(unused)}" if unused else ""


def _faults_of_header(header: Sequence[str], required: Sequence[str]) -> list[str]:
    """Return a column that is a known one but for case, blanks and signs is a fault: as an unknown
    one it would not be used, and what stands in it be lost."""
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


def _rows(
    table: Path, cells: pd.DataFrame, uneven: Uneven, faults: TableErrors | None
) -> Iterator[tuple[str, Row]]:
    for line, row in uneven:
        where = f"{table} line {line}"
        fault = (
            f"{where}: {len(row)} cells under {len(cells.columns)} columns (a polygon, and a"
            " number with a decimal comma, stands in quotes)"
        )
        if faults is None:
            raise InputError(fault)
        faults.add(where, fault)
    named = cells.loc[:, cells.columns != ""]
    columns = dict.fromkeys((*KNOWN, *named.columns))
    rows = named.reindex(columns=list(columns), fill_value="").to_dict("records")
    for line, row in zip(cells.index, rows, strict=True):
        yield f"{table} line {line}", row
