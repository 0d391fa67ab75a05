"""Anybody's collection, described by one CSV: docs/manifest.md. Says what the cells of a row mean,
and compares the rows of a lesion; manifest_rows.py reads them, location.py places."""

import re
from collections import Counter
from pathlib import Path

from mtl_jax.data import patients
from mtl_jax.data.sources import location, same_lesion
from mtl_jax.data.sources.manifest_rows import OPTIONAL, REQUIRED, Row, read_rows
from mtl_jax.data.table_faults import TableFaults
from mtl_jax.data.table_paths import find_file
from mtl_jax.imaging import dicom
from mtl_jax.imaging.checked import check_pixel_um
from mtl_jax.nouns import Collection, InputError, LesionView

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
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Columns with one value for all rows, and why.
SHARED = {
    "dataset": "a manifest holds one collection, so split it into one file each",
    "namespace": "one value a manifest says whose ids its patient_id are",
}


def collection(path: str, outside: bool = False) -> Collection:
    """The lesion views that the CSV at `path` lists; the columns are those of docs/manifest.md.

    `outside`: its paths may be absolute, hold '..' or lead out of its folder by links.
    A case is a patient. Rows whose truth is neither malignant nor benign are left out and named;
    other rows that cannot be used, and rows that contradict each other, are one InputError, which
    lists the first ten with line and column, and counts them.
    """
    table = Path(path)
    if not table.is_file():
        raise InputError(f"manifest: no such file {table}; name the CSV itself")
    faults = TableFaults(table)
    header, rows = read_rows(table, REQUIRED, faults)
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    shared: dict[str, list[tuple[str, str]]] = {column: [] for column in SHARED}
    for where, row in rows:
        with faults.collected(where):
            for column in ("dataset", "patient_id", "lesion_id", "image_path"):
                _require(bool(row[column]), f"{where}: {column} is empty")
            row["namespace"] = patients.checked_namespace(row["namespace"], where)
            for column, values in shared.items():
                values.append((row[column], where))
            truth = row["truth"].lower()
            if truth not in LABELS:
                item = f"{row['patient_id']}/{row['lesion_id']}/{row['view']}"
                left_out.append((item, f"truth {row['truth'] or '(empty)'}"))
                continue
            _require(bool(row["view"]), f"{where}: view is empty")
            views.append(lesion_view(row, table.parent, where, LABELS[truth], outside))
    dataset, namespace = (_shared(column, shared[column], faults) for column in SHARED)
    views = same_lesion.checked(views, faults)
    faults.check()
    _require(bool(shared["dataset"]), f"{table}: no rows below the header")
    return Collection(
        dataset,
        table.parent,
        tuple(views),
        tuple(left_out),
        _decisions(dataset, header),
        namespace=namespace,
    )


def _shared(column: str, values: list[tuple[str, str]], faults: TableFaults) -> str:
    """The value of most rows; each other value is a fault of its first row."""
    if not values:
        return ""
    counts = Counter(value for value, _ in values)
    usual = max(counts, key=lambda value: counts[value])
    first = {value: where for value, where in reversed(values)}
    for value, where in first.items():
        if value != usual:
            rows = f" and {counts[value] - 1} more rows" if counts[value] > 1 else ""
            faults.add(
                where,
                f"{column} {value!r}{rows} differs from {usual!r} of most rows; {SHARED[column]}",
            )
    if column == "dataset" and not _NAME.fullmatch(usual):
        faults.add(first[usual], f"dataset {usual!r}: use letters, digits _-.")
    return usual


def _decisions(name: str, header: list[str]) -> tuple[str, ...]:
    known = (*REQUIRED, *OPTIONAL, *location.KINDS)
    unused = [column or "(unnamed)" for column in header if column not in known]
    decisions = [f"{name}: a case is a patient (patient_id)"]
    if unused:
        decisions.append(f"{name}: columns not used: {', '.join(unused)}")
    return tuple(decisions)


def lesion_view(row: Row, root: Path, where: str, label: int, outside: bool = False) -> LesionView:
    """The lesion view of one row of `read_rows`, its files in `root`, or anywhere if `outside`.

    InputError names `where`.
    """
    view = row["view"].upper()
    _require(
        view in ("", *VIEWS),
        f"{where}: view {row['view']!r} is none of {', '.join(VIEWS)}"
        + ("; the side is for laterality" if view[1:] in VIEWS and view[:1] in "LR" else ""),
    )
    _require(
        row["intensity_kind"] != "raw-linear",
        f"{where}: intensity_kind raw-linear is proportional to exposure: take its logarithm first",
    )
    choice = {column: _choice(row, column, where) for column in CHOICES}
    image = find_file(root, row["image_path"], "image_path", where, outside)
    frame = _whole(row["frame"], "frame", where) if row["frame"] else None
    pixel_um, spacing_source = _pixel_size(row, image, where)
    bits = _whole(row["bits"], "bits", where) if row["bits"] else None
    _require(bits is None or 1 <= bits <= 16, f"{where}: bits {bits} is not 1 to 16")
    mask = row["mask_path"]
    found = location.locate(
        {kind: row[kind] for kind in location.KINDS},
        image,
        frame,
        mask=find_file(root, mask, "mask_path", where, outside) if mask else None,
        from_bottom=choice["coord_origin"] == "bottom_left",
        where=where,
    )
    return LesionView(
        collection=row["dataset"],
        image_path=image,
        box=found.box,
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
        note=found.note,
        noted=found.noted,
        where=where,
    )


def _pixel_size(row: Row, image: Path, where: str) -> tuple[tuple[float, float], str]:
    if row["pixel_um"]:
        sizes = location.numbers(row["pixel_um"], "pixel_um", where)
        _require(len(sizes) in (1, 2), f"{where}: pixel_um: one or row;column")
        found, field = ((sizes[0], sizes[-1]), row["spacing_source"] or "manifest"), "pixel_um"
    else:
        header = dicom.spacing(image) if dicom.is_dicom(image) else None
        if header is None:
            raise InputError(
                f"{where}: pixel_um is empty and {image.name} does not say it: give it"
            )
        found, field = header, header[1]
    try:
        check_pixel_um(found[0], field)
    except InputError as error:
        raise InputError(f"{where}: pixel_um: {error}") from error
    return found


def _choice(row: Row, column: str, where: str) -> str:
    valid = CHOICES[column]
    text = row[column] or valid[0]
    listed = ", ".join(name for name in valid if name)
    _require(text in valid, f"{where}: {column} {text!r} is none of {listed}")
    return text


def _whole(text: str, column: str, where: str) -> int:
    _require(
        text.isdecimal() and len(text) < 10,
        f"{where}: {column} {text[:20]!r} is not a whole number",
    )
    return int(text)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
