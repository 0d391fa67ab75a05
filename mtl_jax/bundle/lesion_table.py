"""The images and lesions that a user wants scored, from files and one table. It scores nothing.

The table has the columns of docs/manifest.md, of which image_path, lesion_id and a location are
needed: a collection's own manifest serves. What a DICOM header says need not be repeated; what it
contradicts is rejected or noted.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mtl_jax.data.privacy import Pseudonyms
from mtl_jax.data.sources import lesion_consistency, manifest, manifest_rows
from mtl_jax.data.table_errors import TableFaults
from mtl_jax.data.table_paths import portable
from mtl_jax.imaging import dicom
from mtl_jax.imaging.read_image import READERS
from mtl_jax.imaging.stored_image import HeaderAttributes
from mtl_jax.imaging.table_vs_header import compare
from mtl_jax.types import UNKNOWN, InputError, LesionView, Note, naming

NEEDED = ("image_path", "lesion_id")
TABLE = "table"  # where a side is from that no header says
TRUTH = "the truth is neither malignant nor benign, and taken as unknown"


class LesionRow(NamedTuple):
    """One lesion in one image: the view, the image's name as the table gives it, where the row
    stands, what its DICOM header says ({} for other files), where the side is from ('' where it is
    unknown), and what in table and header differs and changes no pixel."""

    view: LesionView
    name: str
    where: str
    header: dict
    side_source: str = ""
    notes: tuple[Note, ...] = ()


class ImageHeader(NamedTuple):
    """What the header of an image says: all facts, and those that a table may state as well; {} and
    None where it is no DICOM."""

    facts: dict
    header: HeaderAttributes | None


def read(table: Path, images: Sequence[Path], pixel_um: float | None = None) -> list[LesionRow]:
    """The rows of `table`, each with its image, found in the files and folders `images`.

    `pixel_um` is the pixel size of images that are no DICOM and whose row gives none. InputError,
    with the lines of all faults: a file that is not there, no mammogram, a pixel size that is
    missing or not that of the header, rows of one lesion that cannot be of one.
    """
    if not table.is_file():
        raise InputError(f"{table}: no such file; --lesions names a CSV of lesions")
    files, faults = _files(images), TableFaults(table)
    _, rows = manifest_rows.read_rows(table, NEEDED, faults)
    asked: list[LesionRow] = []
    headers: dict[tuple[Path, str], ImageHeader] = {}
    with_patient: list[bool] = []
    for where, row in rows:
        with faults.collected(where):
            for column in NEEDED:
                if not row[column]:
                    raise InputError(f"{where}: {column} is empty")
            row["image_path"] = _name(row["image_path"], files, table, where)
            path = _image(row["image_path"], files, images, where)
            key = path, row["frame"]
            if key not in headers:
                headers[key] = _described(path, row["frame"], where)
            patient = bool(row["patient_id"])
            asked.append(_asked(row, path, headers[key], pixel_um, where))
            with_patient.append(patient)
    if not (asked or faults):
        raise InputError(f"{table}: no rows below the header")
    asked = _of_one_lesion(asked, with_patient, faults)
    faults.check()
    return asked


def unused_columns(table: Path) -> str:
    """Return a sentence on the columns of a table that `read` takes nothing from; '' for none."""
    return manifest_rows.not_used(manifest_rows.read_rows(table, NEEDED)[0])


def pseudonymize(asked: Sequence[LesionRow], names: Pseudonyms) -> list[LesionRow]:
    """Return the lesions with the ids and file names that may be written; images keep their path,
    by which they are read."""
    return [
        one._replace(
            view=replace(
                one.view,
                case_id=names.case(one.view.case_id),
                lesion_id=names.lesion(one.view.case_id, one.view.lesion_id),
                spacing_source=names.source(one.view.spacing_source),
            ),
            name=names.file(PurePosixPath(one.name)),
        )
        for one in asked
    ]


def _files(images: Sequence[Path]) -> dict[str, list[Path]]:
    """Every image by its name, by its path below the folder that was given, and by all that a path
    to it may end in, so that a table may name it as the command line does."""
    found: dict[str, list[Path]] = {}
    for given in images:
        if not given.exists():
            raise InputError(f"{given}: no such file or folder of images")
        inside = sorted(given.rglob("*")) if given.is_dir() else [given]
        for path in inside:
            if _is_image(path):
                names = {path.name}
                if given.is_dir():
                    names.add(path.relative_to(given).as_posix())
                for name in names:
                    found.setdefault(name, []).append(path)
    longer: dict[str, list[Path]] = {}
    for path in {path for paths in found.values() for path in paths}:
        parts = Path(os.path.abspath(path)).parts
        for start in range(len(parts) - 1):
            longer.setdefault(Path(*parts[start:]).as_posix(), []).append(path)
    return longer | found


def _is_image(path: Path) -> bool:
    known = path.suffix.lower() in READERS
    return path.is_file() and (known or (path.name != "DICOMDIR" and dicom.is_dicom(path)))


def _name(text: str, files: dict[str, list[Path]], table: Path, where: str) -> str:
    """The image's name as `files` has it, of a table that may be written on Windows."""
    if text in files:
        return text
    try:
        return os.path.normpath(portable(table.parent, text))
    except InputError as error:
        raise InputError(f"{where}: image_path {error}") from error


def _image(name: str, files: dict[str, list[Path]], images: Sequence[Path], where: str) -> Path:
    found = sorted(set(files.get(name, [])))
    if len(found) != 1:
        places = ", ".join(map(str, images))
        many = f"{len(found)} images of that name: give its path below" if found else "no image in"
        raise InputError(f"{where}: image_path {name!r}: {many} {places}")
    return found[0]


def _described(path: Path, frame: str, where: str) -> ImageHeader:
    """What the header says; InputError where the file is a DICOM image of another kind."""
    if not dicom.is_dicom(path):
        return ImageHeader({}, None)
    number = int(frame) if frame.isdecimal() else None
    with naming(where):
        facts, header = (
            dicom.describe_header(path, number),
            dicom.read_header_attributes(path, number),
        )
    if "other" in (facts["sop_class"], facts["modality"]):
        raise InputError(
            f"{where}: {path}: not a mammogram: its Modality or SOP class is of another kind"
            " (MG, CR, DX, or film digitized as secondary capture can be scored)"
        )
    if facts["frames"] > 1 and not frame:
        raise InputError(
            f"{where}: {path.name} has {facts['frames']} frames: give frame, counted from 0"
        )
    return ImageHeader(facts, header)


def _asked(
    row: dict[str, str], path: Path, described: ImageHeader, pixel_um: float | None, where: str
) -> LesionRow:
    """One row with its image; InputError where the header contradicts it."""
    facts, header = described
    source = TABLE if row["laterality"] else facts.get("laterality_source", "")
    _fill(row, facts, path, pixel_um, where)
    truth = manifest.LABELS.get(row["truth"].lower(), UNKNOWN)
    unknown = truth == UNKNOWN and row["truth"].lower() not in ("", "unknown")
    own = row | {"image_path": path.name}
    # The path is the user's own, given by hand: links are followed.
    view = manifest.lesion_view(own, path.parent, where, truth, outside=True)
    try:
        notes = compare(
            *(view.laterality, view.view, view.modality, view.pixel_um, view.spacing_source),
            header,
            user_table=True,
        )
    except InputError as error:
        raise InputError(f"{where}: {path.name}: {error}") from error
    notes += (Note(TRUTH),) if unknown else ()
    return LesionRow(view, row["image_path"], where, facts, source, notes)


def _fill(row: dict[str, str], facts: dict, path: Path, pixel_um: float | None, where: str) -> None:
    """Puts what the header or the command line says into the empty cells of `row`."""
    if not row["pixel_um"] and not facts.get("spacing_um"):
        if facts:
            with naming(where):
                dicom.read_spacing(path)  # which says what is wrong with the header's, if anything
        if pixel_um is None:
            raise InputError(
                f"{where}: the pixel size of {path.name} is not known: give it in the column"
                " pixel_um, or by --pixel-um for all"
            )
        row["pixel_um"], row["spacing_source"] = f"{pixel_um!r}", "command line"
    for column in ("view", "laterality"):
        row[column] = row[column] or facts.get(column, "")
    row["modality"] = row["modality"] or _modality(facts)
    row["dataset"] = row["dataset"] or "asked"
    row["patient_id"] = row["patient_id"] or row["lesion_id"]


def _modality(facts: dict) -> str:
    """SFM or DM as far as a header tells: a detector's image is DM, a digitized film SFM."""
    if facts.get("sop_class", "").startswith("mammography") and facts["modality"] == "MG":
        return "" if facts.get("spacing_source") == "NominalScannedPixelSpacing" else "DM"
    return "SFM" if facts.get("sop_class", "").startswith("secondary capture") else ""


def _of_one_lesion(
    asked: list[LesionRow], with_patient: Sequence[bool], faults: TableFaults
) -> list[LesionRow]:
    """`asked` with what its rows note of each other, after adding to `faults` which rows name one
    lesion and cannot be of one, or count it twice.

    `with_patient`: whether each row says whose lesion it is.
    """
    if any(with_patient) and not all(with_patient):
        faults.add(
            asked[with_patient.index(False)].where,
            "patient_id is empty here and given in other rows: fill it in everywhere",
        )
        return asked
    if not any(with_patient):
        unsure = _without_patient(asked, faults)
        if unsure:
            return asked
    views = lesion_consistency.checked([one.view for one in asked], faults)
    return [
        one._replace(view=view, notes=(*one.notes, Note(view.noted)) if view.noted else one.notes)
        for one, view in zip(asked, views, strict=True)
    ]


def _without_patient(asked: Sequence[LesionRow], faults: TableFaults) -> bool:
    """Add to `faults` each lesion that stands in two images where no row says whose it is."""
    first: dict[str, LesionRow] = {}
    unsure = False
    for one in asked:
        other = first.setdefault(one.view.lesion_id, one)
        if os.path.realpath(other.view.image_path) != os.path.realpath(one.view.image_path):
            unsure = True
            faults.add(
                one.where,
                f"lesion {one.view.lesion_id} is in another image too"
                f" ({' '.join(other.where.split()[-2:])}), and nothing says that they are of one"
                " patient: fill in patient_id, or give different lesions different lesion_id",
            )
    return unsure
