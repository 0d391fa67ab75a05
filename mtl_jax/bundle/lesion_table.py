"""Read the table of the lesions to score, and find their images.

The table has the columns of docs/manifest.md; image_path, lesion_id and a location are required,
so that the manifest of a collection can be used. Values in the DICOM header need not be repeated;
values that contradict the header are rejected or noted.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mtl_jax.data.image_names import find_images
from mtl_jax.data.privacy import Pseudonyms
from mtl_jax.data.sources import lesion_consistency, manifest, manifest_rows
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.data.table_paths import normalize_separators
from mtl_jax.imaging import dicom
from mtl_jax.imaging.stored_image import HeaderAttributes
from mtl_jax.imaging.table_vs_header import compare
from mtl_jax.roc.class_names import Classes, plain_label
from mtl_jax.types import UNKNOWN, InputError, LesionView, Note, prefix_errors

REQUIRED = ("image_path", "lesion_id")
PATIENT, GROUP, LESION = "patient", "group", "lesion"  # what a case is, from the table's columns
TABLE = "table"  # source of a laterality that the table states
UNKNOWN_TRUTH = "the truth is neither malignant nor benign and is taken as unknown"


class LesionRow(NamedTuple):
    """A row of the lesion table: one lesion in one image."""

    view: LesionView
    name: str  # image name as in the table
    where: str  # file and line, for messages
    header: dict  # facts of the DICOM header, {} for other files
    side_source: str = ""  # source of the laterality, '' if it is unknown
    notes: tuple[Note, ...] = ()  # differences between table and header that change no pixel
    case_is: str = PATIENT  # or GROUP of images; LESION: the table names neither
    unknown_truth: str = ""  # the word of the table, if it names no class; for the screen only


class ImageHeader(NamedTuple):
    """All facts of a DICOM header, and those that a table may state too; {} and None for others."""

    facts: dict
    header: HeaderAttributes | None


def read(
    table: Path,
    images: Sequence[Path],
    pixel_um: float | None = None,
    classes: Classes | None = None,
) -> list[LesionRow]:
    """Read a lesion table, and find the image of each row in files and folders of images.

    `pixel_um` is the pixel size of images whose header and row do not state it. `classes` are words
    of the truth for benign and malignant lesions, in addition to these two. The InputError has
    all invalid lines: a missing image, an image that is not a mammogram, a pixel size that is
    missing or contradicts the header, or rows of one lesion that contradict each other.
    """
    if not table.is_file():
        raise InputError(f"{table}: no such file; --lesions must name a CSV file of lesions")
    files, errors = find_images(images), TableErrors(table)
    _, rows = manifest_rows.read_rows(table, REQUIRED, errors)
    lesion_rows: list[LesionRow] = []
    headers: dict[tuple[Path, str], ImageHeader] = {}
    for label, word in enumerate(classes or ()):
        if manifest.LABELS.get(word, label) != label:
            raise InputError(
                f"--classes: {word} is the {'positive' if label == 0 else 'negative'} class; give"
                " the word for benign first"
            )
    labels = manifest.LABELS | {word: label for label, word in enumerate(classes or ())}
    for where, row in rows:
        with errors.collect(where):
            for column in REQUIRED:
                if not row[column]:
                    raise InputError(f"{where}: {column} is empty")
            row["image_path"] = _normalize_name(row["image_path"], files, table, where)
            path = _find_image(row["image_path"], files, images, where)
            key = path, row["frame"]
            if key not in headers:
                headers[key] = _read_header(path, row["frame"], where)
            lesion_rows.append(_lesion_row(row, path, headers[key], pixel_um, labels, where))
    if not (lesion_rows or errors):
        raise InputError(f"{table}: no rows below the header")
    lesion_rows = _check_lesions(lesion_rows, errors)
    errors.check()
    return lesion_rows


def unused_columns(table: Path) -> str:
    """Return a text that lists the columns that `read` does not use; '' if there are none."""
    return manifest_rows.describe_unused(manifest_rows.read_rows(table, REQUIRED)[0])


def pseudonymize(rows: Sequence[LesionRow], names: Pseudonyms) -> list[LesionRow]:
    """Return the rows with pseudonyms for ids and file names; the image paths are kept."""
    return [
        row._replace(
            view=replace(
                row.view,
                case_id=names.case(row.view.case_id),
                lesion_id=names.lesion(row.view.case_id, row.view.lesion_id),
                spacing_source=names.source(row.view.spacing_source),
            ),
            name=names.file(PurePosixPath(row.name)),
        )
        for row in rows
    ]


def _normalize_name(text: str, files: dict[str, list[Path]], table: Path, where: str) -> str:
    """Return the image name as a key of `files`; the table may have been written on Windows."""
    if text in files:
        return text
    try:
        return os.path.normpath(normalize_separators(table.parent, text))
    except InputError as error:
        raise InputError(f"{where}: image_path {error}") from error


def _find_image(
    name: str, files: dict[str, list[Path]], images: Sequence[Path], where: str
) -> Path:
    """Return the path of an image; InputError unless there is exactly one of this name."""
    paths = sorted(set(files.get(name, [])))
    if len(paths) != 1:
        roots = ", ".join(map(str, images))
        number = f"{len(paths)} images of that name: give its path below"
        reason = number if paths else "no such image in"
        raise InputError(f"{where}: image_path {name!r}: {reason} {roots}")
    return paths[0]


def _read_header(path: Path, frame: str, where: str) -> ImageHeader:
    """Read the header of an image; InputError if it is DICOM but not a mammogram."""
    if not dicom.is_dicom(path):
        return ImageHeader({}, None)
    number = int(frame) if frame.isdecimal() else None
    with prefix_errors(where):
        facts = dicom.describe_header(path, number)
        header = dicom.read_header_attributes(path, number)
    if "other" in (facts["sop_class"], facts["modality"]):
        raise InputError(
            f"{where}: {path}: not a mammogram by Modality or SOP class (MG, CR, DX and film"
            " digitized as secondary capture can be scored)"
        )
    if facts["frames"] > 1 and not frame:
        raise InputError(
            f"{where}: {path.name} has {facts['frames']} frames: set frame, counted from 0"
        )
    return ImageHeader(facts, header)


def _lesion_row(
    row: dict[str, str],
    path: Path,
    image_header: ImageHeader,
    pixel_um: float | None,
    labels: Mapping[str, int],
    where: str,
) -> LesionRow:
    """Return a row with its image; InputError if the header contradicts it.

    `labels` has the label of each word of the truth.
    """
    facts, header = image_header
    source = TABLE if row["laterality"] else facts.get("laterality_source", "")
    case_is = PATIENT if row["patient_id"] else GROUP if row["group_id"] else LESION
    _fill_cells(row, facts, path, pixel_um, where)
    truth = plain_label(row["truth"])
    label = labels.get(truth, UNKNOWN)
    unknown_truth = row["truth"] if label == UNKNOWN and truth not in ("", "unknown") else ""
    # The user named the path on the command line, so that links are followed.
    cells = row | {"image_path": path.name}
    view = manifest.parse_lesion_view(cells, path.parent, where, label, outside=True)
    try:
        notes = compare(view, header, user_table=True)
    except InputError as error:
        raise InputError(f"{where}: {path.name}: {error}") from error
    notes += (Note(UNKNOWN_TRUTH),) if unknown_truth else ()
    return LesionRow(view, row["image_path"], where, facts, source, notes, case_is, unknown_truth)


def _fill_cells(
    row: dict[str, str], facts: dict, path: Path, pixel_um: float | None, where: str
) -> None:
    """Fill empty cells of a row from the header or the command line."""
    if not row["pixel_um"] and not facts.get("spacing_um"):
        if facts:
            with prefix_errors(where):  # raised if the pixel size in the header is invalid
                dicom.read_spacing(path)
        if pixel_um is None:
            raise InputError(
                f"{where}: the pixel size of {path.name} is unknown: set it in the column pixel_um,"
                " or with --pixel-um for all images"
            )
        row["pixel_um"], row["spacing_source"] = f"{pixel_um!r}", "command line"
    for column in ("view", "laterality"):
        row[column] = row[column] or facts.get(column, "")
    row["modality"] = row["modality"] or _modality(facts)
    row["dataset"] = row["dataset"] or "asked"
    if not row["group_id"]:
        row["patient_id"] = row["patient_id"] or row["lesion_id"]


def _modality(facts: dict) -> str:
    """Return DM for an image of a detector, SFM for a digitized film, '' if neither is certain."""
    if facts.get("sop_class", "").startswith("mammography") and facts["modality"] == "MG":
        return "" if facts.get("spacing_source") == "NominalScannedPixelSpacing" else "DM"
    return "SFM" if facts.get("sop_class", "").startswith("secondary capture") else ""


def _check_lesions(rows: list[LesionRow], errors: TableErrors) -> list[LesionRow]:
    """Add contradictions between the rows of a lesion to `errors`; return the rows with notes."""
    cases = [row.case_is for row in rows]
    case_is = next((case for case in cases if case != LESION), LESION)
    if case_is != LESION and LESION in cases:
        errors.add(
            rows[cases.index(LESION)].where,
            f"{case_is}_id is empty here and given in other rows: fill it in for all rows",
        )
        return rows
    if case_is == LESION and _add_ambiguous_lesions(rows, errors):
        return rows
    case = GROUP if case_is == GROUP else PATIENT
    views = lesion_consistency.check_lesions([row.view for row in rows], errors, case)
    return [
        row._replace(view=view, notes=(*row.notes, Note(view.noted)) if view.noted else row.notes)
        for row, view in zip(rows, views, strict=True)
    ]


def _add_ambiguous_lesions(rows: Sequence[LesionRow], errors: TableErrors) -> bool:
    """Add lesions in two images without a patient id to `errors`; return whether there are any."""
    first_rows: dict[str, LesionRow] = {}
    ambiguous = False
    for row in rows:
        first = first_rows.setdefault(row.view.lesion_id, row)
        if os.path.realpath(first.view.image_path) != os.path.realpath(row.view.image_path):
            ambiguous = True
            errors.add(
                row.where,
                f"lesion {row.view.lesion_id} is also in another image"
                f" ({' '.join(first.where.split()[-2:])}), and no row names a patient: fill in"
                " patient_id, or give different lesions different lesion_id",
            )
    return ambiguous
