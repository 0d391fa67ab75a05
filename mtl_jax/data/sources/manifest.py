"""Anybody's collection, described by one CSV: docs/manifest.md. Reads rows; location.py places."""

import csv
import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtl_jax.data import patients
from mtl_jax.data.sources import location
from mtl_jax.imaging import dicom
from mtl_jax.nouns import Collection, InputError, LesionView

Row = dict[str, str]

REQUIRED = ("dataset", "patient_id", "lesion_id", "view", "image_path", "truth")
OPTIONAL = (
    *("modality", "laterality", "frame", "coord_origin", "pixel_um", "spacing_source", "bits"),
    *("polarity", "truth_source", "split", "notes", "intensity_kind", "namespace"),
)
VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "SIO", "ISO", "XCC", "XCCL", "XCCM", "FB", "AT")
LABELS = {"malignant": 1, "benign": 0}
# What a cell may say, and what an empty cell or absent column means (the first).
CHOICES: dict[str, tuple[str, ...]] = {
    "modality": ("", "SFM", "DM"),
    "laterality": ("", "L", "R"),
    "coord_origin": ("top_left", "bottom_left"),
    "polarity": ("bright_dense", "dark_dense"),
    "truth_source": ("unstated", "biopsy", "followup", "birads", "simulated"),
    "split": ("", "train", "test"),
    "intensity_kind": ("", "OD-linear", "raw-log", "presentation", "8bit"),
}
ALIASES = {"bbox": "box"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def collection(path: str, outside: bool = False) -> Collection:
    """The lesion views that the CSV at `path` lists; the columns are those of docs/manifest.md.

    `outside`: its paths may be absolute, hold '..' or lead out of its folder by links.
    A case is a patient. Rows whose truth is neither malignant nor benign are left out and named;
    any other row that cannot be used is an InputError with its line and column.
    """
    table = Path(path)
    if not table.is_file():
        raise InputError(f"manifest: no such file {table}; name the CSV itself")
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    datasets: set[str] = set()
    namespaces: set[str] = set()
    lesions: dict[tuple[str, str], tuple[str, int]] = {}
    seen: set[tuple[str, str, Path, int]] = set()
    header, rows = read_rows(table, REQUIRED)
    for where, row in rows:
        for column in ("dataset", "patient_id", "lesion_id", "image_path"):
            _require(bool(row[column]), f"{where}: {column} is empty")
        datasets.add(row["dataset"])
        _require(
            len(datasets) == 1,
            f"{where}: dataset {row['dataset']!r} differs from the rows above; a manifest"
            " holds one collection, so split it into one file each",
        )
        namespaces.add(patients.checked_namespace(row["namespace"], where))
        _require(
            len(namespaces) == 1,
            f"{where}: namespace {row['namespace']!r} differs from the rows above; one value a"
            " manifest says whose ids its patient_id are",
        )
        truth = row["truth"].lower()
        if truth not in LABELS:
            item = f"{row['patient_id']}/{row['lesion_id']}/{row['view']}"
            left_out.append((item, f"truth {row['truth'] or '(empty)'}"))
            continue
        _require(bool(row["view"]), f"{where}: view is empty")
        view = lesion_view(row, table.parent, where, LABELS[truth], outside)
        lesion = (view.case_id, view.lesion_id)
        facts = lesions.setdefault(lesion, (view.laterality, view.label))
        _require(
            facts == (view.laterality, view.label),
            f"{where}: lesion {view.lesion_id} of patient {view.case_id} has another laterality or"
            " truth in a row above; give different lesions different lesion_id",
        )
        key = (*lesion, view.image_path, view.frame)
        _require(key not in seen, f"{where}: the same lesion in the same image is listed twice")
        seen.add(key)
        views.append(view)
    _require(bool(datasets), f"{table}: no rows below the header")
    name = datasets.pop()
    _require(
        _NAME.fullmatch(name) is not None, f"{table}: dataset {name!r}: use letters, digits _-."
    )
    decisions = [f"{name}: a case is a patient (patient_id)"]
    unused = [column for column in header if column not in (*REQUIRED, *OPTIONAL, *location.KINDS)]
    if unused:
        decisions.append(f"{name}: columns not used: {', '.join(unused)}")
    return Collection(
        name,
        table.parent,
        tuple(views),
        tuple(left_out),
        tuple(decisions),
        namespace=namespaces.pop(),
    )


def read_rows(table: Path, required: Sequence[str]) -> tuple[list[str], Iterator[tuple[str, Row]]]:
    """The header, and rows of stripped cells with 'file line n' each, absent columns empty.

    InputError: not a CSV, or a column of `required`, or every column of a location, is missing.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(cells)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{table}: not a CSV in UTF-8 ({error})") from error
    names = [name.strip() for name in lines[0][1]] if lines else []
    header = [ALIASES.get(name, name) for name in names]
    missing = [name for name in required if name not in header]
    _require(not missing, f"{table}: missing column {', '.join(missing)} (comma separated CSV)")
    double = sorted({name for name in header if header.count(name) > 1})
    _require(not double, f"{table}: column {', '.join(double)} stands twice")
    _require(
        any(kind in header for kind in location.KINDS),
        f"{table}: missing column: a location, one of {', '.join(location.KINDS)}",
    )
    return header, _rows(table, header, lines[1:])


def _rows(
    table: Path, header: list[str], lines: list[tuple[int, list[str]]]
) -> Iterator[tuple[str, Row]]:
    for number, cells in lines:
        where = f"{table} line {number}"
        _require(
            len(cells) == len(header),
            f"{where}: {len(cells)} cells under {len(header)} columns (a polygon stands in quotes)",
        )
        absent = dict.fromkeys((*REQUIRED, *OPTIONAL, *location.KINDS), "")
        yield where, absent | dict(zip(header, (cell.strip() for cell in cells), strict=True))


def lesion_view(row: Row, root: Path, where: str, label: int, outside: bool = False) -> LesionView:
    """The lesion view of one row of `read_rows`, its files in `root`, or anywhere if `outside`.

    InputError names `where`.
    """
    view = row["view"].upper()
    _require(view in ("", *VIEWS), f"{where}: view {row['view']!r} is none of {', '.join(VIEWS)}")
    _require(
        row["intensity_kind"] != "raw-linear",
        f"{where}: intensity_kind raw-linear is proportional to exposure: take its logarithm first",
    )
    choice = {column: _choice(row, column, where) for column in CHOICES}
    seek = _anywhere if outside else _inside
    image = seek(root, row["image_path"], "image_path", where)
    frame = _whole(row["frame"] or "0", "frame", where)
    pixel_um, spacing_source = _pixel_size(row, image, where)
    box, note = location.box(
        {kind: row[kind] for kind in location.KINDS},
        image,
        frame,
        mask=seek(root, row["mask_path"], "mask_path", where) if row["mask_path"] else None,
        from_bottom=choice["coord_origin"] == "bottom_left",
        where=where,
    )
    bits = _whole(row["bits"], "bits", where) if row["bits"] else None
    _require(bits is None or 1 <= bits <= 16, f"{where}: bits {bits} is not 1 to 16")
    return LesionView(
        collection=row["dataset"],
        image_path=image,
        box=box,
        case_id=row["patient_id"],
        lesion_id=row["lesion_id"],
        view=view,
        laterality=choice["laterality"],
        modality=choice["modality"],
        label=label,
        truth_source=choice["truth_source"],
        pixel_um=pixel_um,
        spacing_source=spacing_source,
        bits=bits,
        dark_is_dense=choice["polarity"] == "dark_dense",
        frame=frame,
        split=choice["split"],
        note=note,
    )


def _pixel_size(row: Row, image: Path, where: str) -> tuple[tuple[float, float], str]:
    if row["pixel_um"]:
        sizes = location.numbers(row["pixel_um"], "pixel_um", where)
        _require(len(sizes) in (1, 2) and min(sizes) > 0, f"{where}: pixel_um: one or row;column")
        return (sizes[0], sizes[-1]), row["spacing_source"] or "manifest"
    found = dicom.spacing(image) if image.suffix.lower() in (".dcm", ".dicom") else None
    if found is None:
        raise InputError(f"{where}: pixel_um is empty and {image.name} does not say it: give it")
    return found


def _inside(root: Path, text: str, column: str, where: str) -> Path:
    """A file in the manifest's own folder, so that a manifest from elsewhere reads nothing else."""
    relative = Path(text)
    cure = "or set data.manifest.outside if it is your own"
    _require(
        not relative.is_absolute() and ".." not in relative.parts,
        f"{where}: {column} {text!r} must be relative to the manifest's folder, without '..'"
        f"; {cure}",
    )
    path = _anywhere(root, text, column, where)
    top = _real(root)
    real = Path(os.path.realpath(path)) if path.is_symlink() else _real(path.parent)
    _require(
        real.is_relative_to(top),
        f"{where}: {column} {text!r} leads out of the manifest's folder by a link; {cure}",
    )
    return path


def _anywhere(root: Path, text: str, column: str, where: str) -> Path:
    # Path.is_file raises on a name that is too long; this does not.
    path = root / text
    _require(os.path.isfile(path), f"{where}: {column}: no such file {text!r} in {root}")
    return path


@functools.cache
def _real(folder: Path) -> Path:
    """Once a folder, not once a file."""
    return Path(os.path.realpath(folder))


def _choice(row: Row, column: str, where: str) -> str:
    valid = CHOICES[column]
    text = row[column] or valid[0]
    listed = ", ".join(name for name in valid if name)
    _require(text in valid, f"{where}: {column} {text!r} is none of {listed}")
    return text


def _whole(text: str, column: str, where: str) -> int:
    _require(text.isdecimal(), f"{where}: {column} {text!r} is not a whole number")
    return int(text)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
