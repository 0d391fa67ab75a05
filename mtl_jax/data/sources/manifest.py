"""Read a collection that the user describes by one CSV, a manifest (docs/manifest.md)."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mtl_jax.data import patients
from mtl_jax.data.sources import disputed_lesions, lesion_consistency, location
from mtl_jax.data.sources.manifest_rows import (
    REQUIRED,
    Row,
    case_column,
    describe_unused,
    read_rows,
)
from mtl_jax.data.table_errors import RowErrors, TableErrors
from mtl_jax.data.table_paths import find_file
from mtl_jax.imaging import dicom
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import GROUPS, PATIENTS, Collection, InputError, LesionView, prefix_errors

VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "SIO", "ISO", "XCC", "XCCL", "XCCM", "FB", "AT")
LABELS = {"malignant": 1, "benign": 0}
# Valid values of a cell; the first one replaces an empty cell or absent column.
CHOICES: dict[str, tuple[str, ...]] = {
    "modality": ("", "SFM", "DM"),
    "laterality": ("", "L", "R"),
    "coord_origin": ("top_left", "bottom_left"),
    "polarity": ("bright_dense", "dark_dense"),
    "truth_source": ("unstated", "biopsy", "followup", "birads", "simulated"),
    "split": ("", "train", "test"),
    "intensity_kind": ("", "OD-linear", "raw-log", "presentation", "8bit"),
}
# What is done with a lesion that is malignant in one row and benign in another.
CONFLICTS = ("reject", "leave_out")
PATIENTS_DECISION = "a case is a patient (patient_id)"
GROUPS_DECISION = (
    "no patient ids; groups of images (group_id) take the place of patients: a case is a group"
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# Columns with one value for all rows, and the reason.
CONSTANT_COLUMNS = {
    "dataset": "a manifest holds one collection: split it into one file for each",
    "namespace": "a manifest has one value, which names the owner of its patient ids",
}


def read_collection(path: str, outside: bool = False, conflicts: str = "reject") -> Collection:
    """Return the lesion views that a manifest lists; docs/manifest.md describes its columns.

    A case is a patient, or a group of images if the column group_id is in place of patient_id. Rows
    whose truth is neither malignant nor benign are left out. `outside`: its paths may be absolute
    or leave its folder by '..' or links. `conflicts`: a lesion with both truths is an error, or all
    its views are left out. Raises one InputError that counts the invalid and contradictory rows and
    lists the first ten with line and column.
    """
    if conflicts not in CONFLICTS:
        raise InputError(
            f"config.data.manifest.conflicts={conflicts!r} is invalid: expected one of"
            f" {', '.join(CONFLICTS)}"
        )
    table = Path(path)
    if not table.is_file():
        raise InputError(f"manifest: no such file {table}; name the CSV")
    errors = TableErrors(table)
    header, rows = read_rows(table, REQUIRED, errors)
    collection = make_collection(
        table.parent,
        rows,
        errors,
        outside,
        unused=describe_unused(header),
        conflicts=conflicts,
        case=case_column(header),
    )
    errors.check()
    _require(bool(collection.views or collection.left_out), f"{table}: no rows below the header")
    return collection


def make_collection(
    root: Path,
    rows: Iterable[tuple[str, Row]],
    errors: TableErrors,
    outside: bool = False,
    unused: str = "",
    conflicts: str = "reject",
    case: str = "patient_id",
) -> Collection:
    """Return the collection of manifest rows, as of `read_rows`; all faults go to `errors`.

    The image paths are relative to `root`; `unused` is a notice on columns that are not used;
    `case` is the column of the case.
    """
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    values: dict[str, list[tuple[str, str]]] = {column: [] for column in CONSTANT_COLUMNS}
    for where, row in rows:
        with errors.collect(where):
            truth = row["truth"].lower()
            required = ("dataset", case, "lesion_id", *(("view",) if truth in LABELS else ()))
            row_errors = RowErrors(where)
            row_errors.read(_check_filled, row, required, where)
            namespace = row_errors.read(patients.normalize_namespace, row["namespace"], where)
            if truth in LABELS:
                view = row_errors.read(parse_lesion_view, row, root, where, LABELS[truth], outside)
            row_errors.check()
            row["namespace"] = namespace
            for column, column_values in values.items():
                column_values.append((row[column], where))
            if truth in LABELS:
                views.append(view)
            else:
                item = f"{row[case]}/{row['lesion_id']}/{row['view']}"
                left_out.append((item, f"truth {row['truth'] or '(empty)'}"))
    dataset, namespace = (
        _constant_value(column, values[column], errors) for column in CONSTANT_COLUMNS
    )
    are_groups = case == "group_id"
    if are_groups and namespace:
        errors.add(
            values["namespace"][0][1],
            "namespace names the owner of patient ids: leave it empty with group_id",
        )
    decisions = [f"{dataset}: {GROUPS_DECISION if are_groups else PATIENTS_DECISION}"]
    if conflicts == "leave_out":
        views, disputed = disputed_lesions.separate_disputed(views)
        left_out += [
            (f"{view.case_id}/{view.lesion_id}/{view.view}", disputed_lesions.REASON)
            for view in disputed
        ]
        count = len({(view.case_id, view.lesion_id) for view in disputed})
        decisions.append(
            f"{dataset}: lesions that are malignant in one row and benign in another are left out"
            f" with all their views (data.manifest.conflicts): {count} lesions, {len(disputed)}"
            " views"
        )
    views = lesion_consistency.check_lesions(views, errors, case.removesuffix("_id"))
    notices = [unused] if unused else []
    decisions += [f"{dataset}: {notice}" for notice in notices]
    return Collection(
        *(dataset, root, tuple(views), tuple(left_out), tuple(decisions)),
        namespace=namespace,
        notices=tuple(notices),
        cases_are=GROUPS if are_groups else PATIENTS,
    )


def _constant_value(column: str, values: list[tuple[str, str]], errors: TableErrors) -> str:
    """Return the most frequent value; each other value is an error in its first row."""
    if not values:
        return ""
    counts = Counter(value for value, _ in values)
    majority = max(counts, key=lambda value: counts[value])
    first_row = {value: where for value, where in reversed(values)}
    order = list(dict.fromkeys(value for value, _ in values))
    for value, where in first_row.items():
        if value != majority:
            position = "above" if order.index(majority) < order.index(value) else "below"
            more = f" and {counts[value] - 1} more rows" if counts[value] > 1 else ""
            errors.add(
                where,
                f"{column} {value!r}{more} differs from {majority!r} in the rows {position};"
                f" {CONSTANT_COLUMNS[column]}",
            )
    if column == "dataset" and not NAME.fullmatch(majority):
        errors.add(
            first_row[majority],
            f"dataset {majority!r} is invalid: expected letters, digits, '_', '-' and '.'",
        )
    return majority


def parse_lesion_view(
    row: Row, root: Path, where: str, label: int, outside: bool = False
) -> LesionView:
    """Return the lesion view of a row of `read_rows`; one InputError lists all invalid cells.

    `label` is 1 malignant, 0 benign or UNKNOWN; with `outside` its files may be outside `root`.
    """
    errors = RowErrors(where)
    view = errors.read(_parse_view, row, where)
    choice = {column: errors.read(_parse_choice, row, column, where) for column in CHOICES}
    frame = errors.read(_parse_integer, row, "frame", where)
    bits = errors.read(_parse_bits, row, where)
    image, mask = (
        errors.read(find_file, root, row[column], column, where, outside) if row[column] else None
        for column in ("image_path", "mask_path")
    )
    errors.read(_check_filled, row, ("image_path",), where)
    pixel_size = errors.read(_parse_pixel_size, row, image, where)
    from_bottom = choice["coord_origin"] == "bottom_left"
    lesion_box = errors.read(location.locate_lesion, row, image, frame, mask, from_bottom, where)
    errors.check()
    pixel_um, spacing_source = pixel_size
    return LesionView(
        collection=row["dataset"],
        image_path=image,
        box=lesion_box.box,
        case_id=row["patient_id"] or row["group_id"],
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
        device=row["device"],
        note=lesion_box.note,
        noted=lesion_box.noted,
        where=where,
    )


def _check_filled(row: Row, columns: Sequence[str], where: str) -> None:
    empty = [column for column in columns if not row[column]]
    _require(not empty, f"{where}: {', '.join(empty)} is empty")


def _parse_view(row: Row, where: str) -> str:
    view = row["view"].upper()
    advice = "; the side is for laterality" if view[1:] in VIEWS and view[:1] in ("L", "R") else ""
    message = (
        f"{where}: view {row['view']!r} is invalid: expected one of {', '.join(VIEWS)}{advice}"
    )
    _require(view in ("", *VIEWS), message)
    return view


def _parse_pixel_size(
    row: Row, image: Path | None, where: str
) -> tuple[tuple[float, float], str] | None:
    """Return the pixel size in um and its source; None if only a missing image could state it."""
    if row["pixel_um"]:
        sizes = location.parse_numbers(row["pixel_um"], "pixel_um", where)
        _require(
            len(sizes) in (1, 2),
            f"{where}: pixel_um {row['pixel_um']!r} is invalid: expected one number or row;column",
        )
        pixel_um, field = (sizes[0], sizes[-1]), "pixel_um"
        source = row["spacing_source"] or "manifest"
    elif image is None:
        return None
    else:
        spacing = dicom.read_spacing(image) if dicom.is_dicom(image) else None
        if spacing is None:
            raise InputError(
                f"{where}: pixel_um is empty and {image.name} does not state it: fill it in"
            )
        pixel_um, source = spacing
        field = source
    with prefix_errors(f"{where}: pixel_um"):
        check_pixel_um(pixel_um, field)
    return pixel_um, source


def _parse_choice(row: Row, column: str, where: str) -> str:
    valid = CHOICES[column]
    value = row[column] or valid[0]
    _require(
        (column, value) != ("intensity_kind", "raw-linear"),
        f"{where}: intensity_kind raw-linear is proportional to exposure: take its logarithm first",
    )
    expected = ", ".join(name for name in valid if name)
    message = f"{where}: {column} {value!r} is invalid: expected one of {expected}"
    _require(value in valid, message)
    return value


def _parse_integer(row: Row, column: str, where: str) -> int | None:
    text = row[column]
    valid = text.isdecimal() and len(text) < 10
    _require(
        valid or not text, f"{where}: {column} {text[:20]!r} is invalid: expected an integer >= 0"
    )
    return int(text) if text else None


def _parse_bits(row: Row, where: str) -> int | None:
    bits = _parse_integer(row, "bits", where)
    _require(
        bits is None or 1 <= bits <= 16,
        f"{where}: bits {bits} is invalid: expected an integer from 1 to 16",
    )
    return bits


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
