"""Anybody's collection, described by one CSV: docs/manifest.md. Says what the cells of a row mean,
and compares the rows of a lesion; manifest_rows.py reads them, location.py places."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mtl_jax.data import patients
from mtl_jax.data.sources import lesion_consistency, location
from mtl_jax.data.sources.manifest_rows import REQUIRED, Row, describe_unused, read_rows
from mtl_jax.data.table_errors import RowErrors, TableErrors
from mtl_jax.data.table_paths import find_file
from mtl_jax.imaging import dicom
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import Collection, InputError, LesionView

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
NEEDED = ("dataset", "patient_id", "lesion_id", "view")  # in the row of a lesion that is taken
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Columns with one value for all rows, and why.
SHARED = {
    "dataset": "a manifest holds one collection, so split it into one file each",
    "namespace": "one value a manifest says whose ids its patient_id are",
}


def read_collection(path: str, outside: bool = False) -> Collection:
    """Return the lesion views that the CSV at `path` lists; the columns are those of
    docs/manifest.md.

    `outside`: its paths may be absolute, hold '..' or lead out of its folder by links.
    A case is a patient. Rows whose truth is neither malignant nor benign are left out and named;
    other rows that cannot be used, and rows that contradict each other, are one InputError, which
    lists the first ten with line and column, and counts them.
    """
    table = Path(path)
    if not table.is_file():
        raise InputError(f"manifest: no such file {table}; name the CSV itself")
    faults = TableErrors(table)
    header, rows = read_rows(table, REQUIRED, faults)
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    shared: dict[str, list[tuple[str, str]]] = {column: [] for column in SHARED}
    for where, row in rows:
        with faults.collected(where):
            truth = row["truth"].lower()
            row_faults = RowErrors(where)
            row_faults.read(_filled, row, NEEDED if truth in LABELS else NEEDED[:-1], where)
            namespace = row_faults.read(patients.normalize_namespace, row["namespace"], where)
            if truth in LABELS:
                view = row_faults.read(
                    parse_lesion_view, row, table.parent, where, LABELS[truth], outside
                )
            row_faults.check()
            row["namespace"] = namespace
            for column, values in shared.items():
                values.append((row[column], where))
            if truth not in LABELS:
                item = f"{row['patient_id']}/{row['lesion_id']}/{row['view']}"
                left_out.append((item, f"truth {row['truth'] or '(empty)'}"))
            else:
                views.append(view)
    dataset, namespace = (_shared(column, shared[column], faults) for column in SHARED)
    views = lesion_consistency.check_lesions(views, faults)
    faults.check()
    _require(bool(shared["dataset"]), f"{table}: no rows below the header")
    return Collection(
        dataset,
        table.parent,
        tuple(views),
        tuple(left_out),
        _decisions(dataset, header),
        namespace=namespace,
        notices=(describe_unused(header),) if describe_unused(header) else (),
    )


def _shared(column: str, values: list[tuple[str, str]], faults: TableErrors) -> str:
    """Return the value of most rows; each other value is a fault of its first row."""
    if not values:
        return ""
    counts = Counter(value for value, _ in values)
    usual = max(counts, key=lambda value: counts[value])
    first = {value: where for value, where in reversed(values)}
    order = list(dict.fromkeys(value for value, _ in values))
    for value, where in first.items():
        if value != usual:
            others = "above" if order.index(usual) < order.index(value) else "below"
            rows = f" and {counts[value] - 1} more rows" if counts[value] > 1 else ""
            faults.add(
                where,
                f"{column} {value!r}{rows} differs from the rows {others}, which say {usual!r};"
                f" {SHARED[column]}",
            )
    if column == "dataset" and not _NAME.fullmatch(usual):
        faults.add(first[usual], f"dataset {usual!r}: use letters, digits _-.")
    return usual


def _decisions(name: str, header: list[str]) -> tuple[str, ...]:
    unused = describe_unused(header)
    decisions = [f"{name}: a case is a patient (patient_id)"]
    return (*decisions, f"{name}: {unused}") if unused else tuple(decisions)


def parse_lesion_view(
    row: Row, root: Path, where: str, label: int, outside: bool = False
) -> LesionView:
    """Return the lesion view of one row of `read_rows`, its files in `root`, or anywhere if
    `outside`.

    InputError names `where`, and all cells of the row that cannot be used.
    """
    faults = RowErrors(where)
    view = faults.read(_view, row, where)
    choice = {column: faults.read(_choice, row, column, where) for column in CHOICES}
    frame = faults.read(_whole, row, "frame", where)
    bits = faults.read(_bits, row, where)
    image, mask = (
        faults.read(find_file, root, row[column], column, where, outside) if row[column] else None
        for column in ("image_path", "mask_path")
    )
    faults.read(_filled, row, ("image_path",), where)
    size = faults.read(_pixel_size, row, image, where)
    from_bottom = choice["coord_origin"] == "bottom_left"
    found = faults.read(location.locate_lesion, row, image, frame, mask, from_bottom, where)
    faults.check()
    pixel_um, spacing_source = size
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


def _filled(row: Row, columns: Sequence[str], where: str) -> None:
    empty = [column for column in columns if not row[column]]
    _require(not empty, f"{where}: {', '.join(empty)} is empty")


def _view(row: Row, where: str) -> str:
    view = row["view"].upper()
    side = "; the side is for laterality" if view[1:] in VIEWS and view[:1] in ("L", "R") else ""
    listed = ", ".join(VIEWS)
    _require(view in ("", *VIEWS), f"{where}: view {row['view']!r} is none of {listed}{side}")
    return view


def _pixel_size(row: Row, image: Path | None, where: str) -> tuple[tuple[float, float], str] | None:
    """In um, and where it is from; None where only an image that is not there could say it."""
    if row["pixel_um"]:
        sizes = location.parse_numbers(row["pixel_um"], "pixel_um", where)
        _require(len(sizes) in (1, 2), f"{where}: pixel_um: one or row;column")
        found, field = ((sizes[0], sizes[-1]), row["spacing_source"] or "manifest"), "pixel_um"
    elif image is None:
        return None
    else:
        header = dicom.read_spacing(image) if dicom.is_dicom(image) else None
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
    _require(
        (column, text) != ("intensity_kind", "raw-linear"),
        f"{where}: intensity_kind raw-linear is proportional to exposure: take its logarithm first",
    )
    listed = ", ".join(name for name in valid if name)
    _require(text in valid, f"{where}: {column} {text!r} is none of {listed}")
    return text


def _whole(row: Row, column: str, where: str) -> int | None:
    text = row[column]
    whole = text.isdecimal() and len(text) < 10
    _require(whole or not text, f"{where}: {column} {text[:20]!r} is not a whole number")
    return int(text) if text else None


def _bits(row: Row, where: str) -> int | None:
    bits = _whole(row, "bits", where)
    _require(bits is None or 1 <= bits <= 16, f"{where}: bits {bits} is not 1 to 16")
    return bits


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
