"""The four case description tables of CBIS-DDSM."""

import re
from dataclasses import dataclass
from pathlib import Path

from mtl_jax.data.table_errors import TableFaults
from mtl_jax.io.read_csv import Uneven, read_csv
from mtl_jax.types import InputError

TABLES = {
    "mass-train": "mass_case_description_train_set.csv",
    "mass-test": "mass_case_description_test_set.csv",
    "calc-train": "calc_case_description_train_set.csv",
    "calc-test": "calc_case_description_test_set.csv",
}
OTHER_FOLDER = "the film's folder names another patient, side or view than the row"
PATHS = ("image", "crop", "mask")
PATHOLOGIES = ("MALIGNANT", "BENIGN", "BENIGN_WITHOUT_CALLBACK")
UID = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40}){3,20}")
_FOLDER = re.compile(r"(?:Mass|Calc)-(?:Training|Test)_(P_\d{5})_(LEFT|RIGHT)_(CC|MLO)/")
_COLUMNS = {
    **{"patient": "patient id", "side": "left or right breast", "view": "image view"},
    **{"number": "abnormality id", "pathology": "pathology", "image": "image file path"},
    **{"crop": "cropped image file path", "mask": "roi mask file path"},
}
_CELLS = {  # what a cell must be, for those that are no path
    "patient": re.compile(r"P_\d{5}"),
    "side": re.compile(r"LEFT|RIGHT"),
    "view": re.compile(r"CC|MLO"),
    "number": re.compile(r"\d{1,3}"),
    "pathology": re.compile("|".join(PATHOLOGIES)),
}


@dataclass(frozen=True)
class Row:
    """One lesion in one view; `image`, `crop` and `mask` are SeriesInstanceUIDs."""

    part: str
    patient: str
    side: str
    view: str
    number: str
    pathology: str
    image: str
    crop: str
    mask: str
    noted: str  # what the name of the film's folder contradicts
    where: str  # table and line

    @property
    def lesion(self) -> str:
        """Unique within the patient: masses and calcifications are counted apart."""
        return f"{self.side}-{self.part.partition('-')[0]}-{int(self.number)}"

    @property
    def item(self) -> str:
        return f"{self.part} {self.patient} {self.lesion} {self.view}"


def read_tables(root: Path, parts: tuple[str, ...]) -> list[Row]:
    """Return the rows of the chosen parts, in their order; the tables may stand anywhere below
    `root`.

    InputError names the table that is missing, or the lines that are damaged.
    """
    rows = []
    for part in parts:
        places = sorted(root.rglob(TABLES[part]), key=lambda one: (len(one.parts), str(one)))
        if not places:
            raise InputError(
                f"cbis_ddsm: no {TABLES[part]} in {root}; put it there, or choose other parts"
            )
        rows += _rows(places[0], part)
    return rows


def _rows(table: Path, part: str) -> list[Row]:
    uneven: Uneven = []
    try:
        lines = read_csv(table, strip=True, uneven=uneven)
    except (InputError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{table}: not a CSV in UTF-8 ({reason}); fetch it again") from error
    # One kind of table writes breast_density, the other breast density.
    lines.columns = [name.lower().replace("_", " ") for name in lines.columns]
    missing = [name for name in _COLUMNS.values() if name not in lines]
    if missing or not len(lines) + len(uneven):
        raise InputError(f"{table}: missing column {', '.join(missing)}, or no row; fetch it again")
    faults = TableFaults(table)
    for number, cells in uneven:
        faults.add(
            f"{table} line {number}", f"{len(cells)} cells under {len(lines.columns)} columns"
        )
    rows = []
    for number, found in zip(lines.index, lines.to_dict("records"), strict=True):
        where = f"{table} line {number}"
        with faults.collected(where):
            rows.append(_row(found, part, where))
    faults.check()
    return rows


def _row(found: dict[str, str], part: str, where: str) -> Row:
    row = {name: found[column] for name, column in _COLUMNS.items()}
    for name in PATHS:  # a table saved on Windows
        row[name] = row[name].replace("\\", "/")
    for name, form in _CELLS.items():
        if not form.fullmatch(row[name]):
            raise InputError(f"{where}: {_COLUMNS[name]} {row[name][:30]!r} is not known")
    series = {name: _series(row[name], where) for name in PATHS}
    folder = _FOLDER.match(row["image"])
    stated = (row["patient"], row["side"], row["view"])
    differs = folder is not None and folder.groups() != stated
    return Row(part, **(row | series), noted=OTHER_FOLDER if differs else "", where=where)


def _series(path: str, where: str) -> str:
    """Return the third component: folder, study and series are what a path in the tables is made
    of."""
    parts = path.split("/")
    if len(parts) != 4 or not UID.fullmatch(parts[2]):
        raise InputError(f"{where}: a path is folder/study/series/file, not {path[:40]!r}")
    return parts[2]
