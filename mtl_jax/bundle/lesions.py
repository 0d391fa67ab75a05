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
from mtl_jax.data.sources import location, manifest
from mtl_jax.imaging import dicom
from mtl_jax.imaging.read import READERS
from mtl_jax.nouns import UNKNOWN, InputError, LesionView, Note

NEEDED = ("image_path", "lesion_id")
SAME_SPACING = 0.01  # what a table and a header may differ in
DICOM = (".dcm", ".dicom")
TABLE = "table"
SIDE_TAGS = ("ImageLaterality", "Laterality", "FrameLaterality")  # which name the side itself


class Asked(NamedTuple):
    """One lesion in one image: the view, the image's name as the table gives it, where the row
    stands, what its DICOM header says ({} for other files), where the side is from ('' where it is
    unknown), and what in table and header differs and changes no pixel."""

    view: LesionView
    name: str
    where: str
    header: dict
    side_source: str = ""
    notes: tuple[Note, ...] = ()


def read(table: Path, images: Sequence[Path], pixel_um: float | None = None) -> list[Asked]:
    """The rows of `table`, each with its image, found in the files and folders `images`.

    `pixel_um` is the pixel size of images that are no DICOM and whose row gives none. InputError,
    with the line: a file that is not there, no mammogram, a pixel size that is missing or not that
    of the header.
    """
    if not table.is_file():
        raise InputError(f"{table}: no such file; --lesions names a CSV of lesions")
    files = _files(images)
    _, rows = manifest.read_rows(table, NEEDED)
    asked, headers, with_patient = [], {}, []
    for where, row in rows:
        for column in NEEDED:
            if not row[column]:
                raise InputError(f"{where}: {column} is empty")
        path = _image(row["image_path"], files, images, where)
        if path not in headers:
            headers[path] = _header(path, where)
        with_patient.append(bool(row["patient_id"]))
        asked.append(_asked(row, path, headers[path], pixel_um, where))
    if not asked:
        raise InputError(f"{table}: no rows below the header")
    _refuse_merged(asked, with_patient)
    return asked


def hide(asked: Sequence[Asked], names: Pseudonyms) -> list[Asked]:
    """Return the lesions with the ids and file names that may be written; images keep their path,
    by which they are read."""
    return [
        one._replace(
            view=replace(
                one.view,
                case_id=names.case(one.view.case_id),
                lesion_id=names.lesion(one.view.case_id, one.view.lesion_id),
            ),
            name=names.file(PurePosixPath(one.name)),
        )
        for one in asked
    ]


def _asked(
    row: dict[str, str], path: Path, header: dict, pixel_um: float | None, where: str
) -> Asked:
    """One row with its image; InputError where the header contradicts it."""
    notes = _notes(row, header, path, where)
    side_source = TABLE if row["laterality"] else header.get("laterality_source", "")
    _fill(row, header, path, pixel_um, where)
    truth = manifest.LABELS.get(row["truth"].lower(), UNKNOWN)
    own = row | {"image_path": path.name}
    # The path is the user's own, given by hand: links are followed.
    view = manifest.lesion_view(own, path.parent, where, truth, outside=True)
    return Asked(view, row["image_path"], where, header, side_source, notes)


def _refuse_merged(asked: Sequence[Asked], with_patient: Sequence[bool]) -> None:
    """Raise InputError where rows of one lesion cannot be of one lesion, or count it twice.

    `with_patient`: whether each row says whose lesion it is.
    """
    if any(with_patient) and not all(with_patient):
        first = asked[with_patient.index(False)].where
        raise InputError(
            f"{first}: patient_id is empty here and given in other rows: fill it in everywhere"
        )
    images: dict[tuple, Asked] = {}
    lesions: dict[tuple[str, str], list[Asked]] = {}
    for one, patient_known in zip(asked, with_patient, strict=True):
        view = one.view
        lesion = view.case_id, view.lesion_id
        image = os.path.realpath(view.image_path)
        same = images.setdefault((*lesion, image, view.frame_number), one)
        if same is not one:
            raise InputError(
                f"{one.where}: lesion {view.lesion_id} in this image is listed already"
                f" ({same.where}): delete a row, or give different lesions different lesion_id"
            )
        for other in lesions.setdefault(lesion, []):
            _refuse_other(one, other, patient_known)
        lesions[lesion].append(one)


def _refuse_other(one: Asked, other: Asked, patient_known: bool) -> None:
    """InputError where two rows with the same ids are of two lesions, or may be."""
    a, b = one.view, other.view
    cure = "give different lesions different lesion_id"
    if not patient_known and os.path.realpath(a.image_path) != os.path.realpath(b.image_path):
        raise InputError(
            f"{one.where}: lesion {a.lesion_id} is in another image too ({other.where}), and"
            f" nothing says that they are of one patient: fill in patient_id, or {cure}"
        )
    if a.laterality and b.laterality and a.laterality != b.laterality:
        raise InputError(
            f"{one.where}: lesion {a.lesion_id} is in the {_side(a)} breast, and in the {_side(b)}"
            f" in {other.where}: correct laterality, or {cure}"
        )
    if UNKNOWN not in (a.label, b.label) and a.label != b.label:
        raise InputError(
            f"{one.where}: lesion {a.lesion_id} has another truth than in {other.where}: correct"
            f" truth, or {cure}"
        )


def _side(view: LesionView) -> str:
    return {"L": "left", "R": "right"}[view.laterality]


def _files(images: Sequence[Path]) -> dict[str, list[Path]]:
    """Every image by its name, and by its path below the folder that was given."""
    found: dict[str, list[Path]] = {}
    for given in images:
        if not given.exists():
            raise InputError(f"{given}: no such file or folder of images")
        inside = sorted(given.rglob("*")) if given.is_dir() else [given]
        for path in inside:
            if path.suffix.lower() in READERS and path.is_file():
                names = {path.name}
                if given.is_dir():
                    names.add(path.relative_to(given).as_posix())
                for name in names:
                    found.setdefault(name, []).append(path)
    return found


def _image(name: str, files: dict[str, list[Path]], images: Sequence[Path], where: str) -> Path:
    found = sorted(set(files.get(name, [])))
    if len(found) != 1:
        places = ", ".join(map(str, images))
        many = f"{len(found)} images of that name: give its path below" if found else "no image in"
        raise InputError(f"{where}: image_path {name!r}: {many} {places}")
    return found[0]


def _header(path: Path, where: str) -> dict:
    """What the header says; InputError where the file is a DICOM image of another kind."""
    if path.suffix.lower() not in DICOM:
        return {}
    try:
        facts = dicom.described(path)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if "other" in (facts["sop_class"], facts["modality"]):
        raise InputError(
            f"{where}: {path}: not a mammogram: its Modality or SOP class is of another kind"
            " (MG, CR, DX, or film digitized as secondary capture can be scored)"
        )
    return facts


def _fill(
    row: dict[str, str], header: dict, path: Path, pixel_um: float | None, where: str
) -> None:
    """Puts what the header or the command line says into the empty cells of `row`."""
    if not row["pixel_um"] and not header.get("spacing_um"):
        if pixel_um is None:
            raise InputError(
                f"{where}: the pixel size of {path.name} is not known: give it in the column"
                " pixel_um, or by --pixel-um for all"
            )
        row["pixel_um"], row["spacing_source"] = f"{pixel_um!r}", "command line"
    for column in ("view", "laterality"):
        row[column] = row[column] or header.get(column, "")
    row["modality"] = row["modality"] or _modality(header)
    row["dataset"] = row["dataset"] or "asked"
    row["patient_id"] = row["patient_id"] or row["lesion_id"]


def _notes(row: dict[str, str], header: dict, path: Path, where: str) -> tuple[Note, ...]:
    """What row and header say differently. InputError where the ROI or the side depends on it and
    neither is decisive."""
    notes = []
    said = header.get("spacing_um")
    if row["pixel_um"] and said:
        given = location.numbers(row["pixel_um"], "pixel_um", where)
        pairs = zip((given[0], given[-1]), said, strict=True)
        if any(abs(a - b) > SAME_SPACING * b for a, b in pairs):
            differ = (
                f"pixel_um {row['pixel_um']} is not what the header of {path.name} says"
                f" ({said[0]:g};{said[1]:g} um)"
            )
            if not row["spacing_source"]:
                raise InputError(
                    f"{where}: {differ}: correct the table, leave pixel_um empty, or say in"
                    " spacing_source where it is from"
                )
            numbers = f"{given[0]:g};{given[-1]:g} um, header {said[0]:g};{said[1]:g} um"
            notes.append(Note("the table's pixel size is not the header's", numbers))
    side, source = header.get("laterality", ""), header.get("laterality_source", "")
    if row["laterality"] in ("L", "R") and side and row["laterality"] != side:
        if source in SIDE_TAGS:
            raise InputError(
                f"{where}: laterality {row['laterality']} is not what the header of {path.name}"
                f" says ({source} {side}): correct the table, or leave laterality empty"
            )
        detail = f"{row['laterality']}, {source} {side}"
        notes.append(
            Note("the table's side is not that of the image's orientation or name", detail)
        )
    hung = header.get("view", "")
    if row["view"] and hung and row["view"].upper() != hung:
        detail = f"{row['view'].upper()}, {header['view_source']} {hung}"
        notes.append(Note("the table's view is not the header's", detail))
    return tuple(notes)


def _modality(header: dict) -> str:
    """SFM or DM as far as a header tells: a detector's image is DM, a digitized film SFM."""
    if header.get("sop_class", "").startswith("mammography") and header["modality"] == "MG":
        return "" if header.get("spacing_source") == "NominalScannedPixelSpacing" else "DM"
    return "SFM" if header.get("sop_class", "").startswith("secondary capture") else ""
