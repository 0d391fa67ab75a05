"""Read the four case description tables of CBIS-DDSM."""

import re
from dataclasses import dataclass
from pathlib import Path

from mtl_jax.data.table_errors import TableErrors
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
_CELLS = {  # pattern of each cell that is not a path, and its description
    "patient": (r"P_\d{5}", "P_ and five digits"),
    "side": (r"LEFT|RIGHT", "LEFT or RIGHT"),
    "view": (r"CC|MLO", "CC or MLO"),
    "number": (r"\d{1,3}", "an integer of at most three digits"),
    "pathology": ("|".join(PATHOLOGIES), f"one of {', '.join(PATHOLOGIES)}"),
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
    noted: str  # contradiction between the row and the name of the film's folder
    where: str  # table and line

    @property
    def lesion(self) -> str:
        """Return an id that is unique within the patient: each lesion type has its own numbers."""
        return f"{self.side}-{self.part.partition('-')[0]}-{int(self.number)}"

    @property
    def item(self) -> str:
        return f"{self.part} {self.patient} {self.lesion} {self.view}"


def read_tables(root: Path, parts: tuple[str, ...]) -> list[Row]:
    """Return the rows of the chosen parts, in order; the tables may be anywhere below `root`."""
    rows = []
    for part in parts:
        paths = sorted(root.rglob(TABLES[part]), key=lambda path: (len(path.parts), str(path)))
        if not paths:
            raise InputError(
                f"cbis_ddsm: no {TABLES[part]} in {root}; put it there, or change"
                " config.data.cbis_ddsm.parts"
            )
        rows += _read_table(paths[0], part)
    return rows


def _read_table(path: Path, part: str) -> list[Row]:
    uneven: Uneven = []
    try:
        table = read_csv(path, strip=True, uneven=uneven)
    except (InputError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a CSV in UTF-8 ({reason}); download it again") from error
    # The mass tables write breast_density, the calcification tables breast density.
    table.columns = [name.lower().replace("_", " ") for name in table.columns]
    missing = [name for name in _COLUMNS.values() if name not in table]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}; download it again")
    if not len(table) + len(uneven):
        raise InputError(f"{path}: no row below the header; download it again")
    errors = TableErrors(path)
    for line, cells in uneven:
        errors.add(f"{path} line {line}", f"{len(cells)} cells under {len(table.columns)} columns")
    rows = []
    for line, cells in zip(table.index, table.to_dict("records"), strict=True):
        where = f"{path} line {line}"
        with errors.collect(where):
            rows.append(_parse_row(cells, part, where))
    errors.check()
    return rows


def _parse_row(cells: dict[str, str], part: str, where: str) -> Row:
    row = {name: cells[column] for name, column in _COLUMNS.items()}
    for name in PATHS:  # a table saved on Windows
        row[name] = row[name].replace("\\", "/")
    for name, (pattern, expected) in _CELLS.items():
        if not re.fullmatch(pattern, row[name]):
            raise InputError(
                f"{where}: {_COLUMNS[name]} {row[name][:30]!r} is invalid: expected {expected}"
            )
    series = {name: _series_uid(row[name], where) for name in PATHS}
    folder = _FOLDER.match(row["image"])
    stated = (row["patient"], row["side"], row["view"])
    differs = folder is not None and folder.groups() != stated
    return Row(part, **(row | series), noted=OTHER_FOLDER if differs else "", where=where)


def _series_uid(path: str, where: str) -> str:
    """Return the third component of a path in the tables: folder/study/series/file."""
    parts = path.split("/")
    if len(parts) != 4 or not UID.fullmatch(parts[2]):
        raise InputError(
            f"{where}: path {path[:40]!r} is invalid: expected folder/study/series/file"
        )
    return parts[2]
