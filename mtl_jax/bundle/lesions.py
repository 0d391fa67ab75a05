"""The images and lesions that a user wants scored, from files and one table. It scores nothing.

The table has the columns of docs/manifest.md, of which image_path, lesion_id and a location are
needed: a collection's own manifest serves. What a DICOM header says need not be repeated.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data.sources import location, manifest
from mtl_jax.imaging import dicom
from mtl_jax.imaging.read import READERS
from mtl_jax.nouns import UNKNOWN, InputError, LesionView

NEEDED = ("image_path", "lesion_id")
SAME_SPACING = 0.01  # what a table and a header may differ in
DICOM = (".dcm", ".dicom")


class Asked(NamedTuple):
    """One lesion in one image: the view, the image's name as the table gives it, where the row
    stands, and what its DICOM header says ({} for other files)."""

    view: LesionView
    name: str
    where: str
    header: dict


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
    asked, headers = [], {}
    for where, row in rows:
        for column in NEEDED:
            if not row[column]:
                raise InputError(f"{where}: {column} is empty")
        path = _image(row["image_path"], files, images, where)
        if path not in headers:
            headers[path] = _header(path, where)
        header = headers[path]
        _fill(row, header, path, pixel_um, where)
        truth = manifest.LABELS.get(row["truth"].lower(), UNKNOWN)
        own = row | {"image_path": path.name}
        # The path is the user's own, given by hand: links are followed.
        view = manifest.lesion_view(own, path.parent, where, truth, outside=True)
        asked.append(Asked(view, row["image_path"], where, header))
    if not asked:
        raise InputError(f"{table}: no rows below the header")
    return asked


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
    said = header.get("spacing_um")
    if not row["pixel_um"] and not said:
        if pixel_um is None:
            raise InputError(
                f"{where}: the pixel size of {path.name} is not known: give it in the column"
                " pixel_um, or by --pixel-um for all"
            )
        row["pixel_um"], row["spacing_source"] = f"{pixel_um!r}", "command line"
    if row["pixel_um"] and said:
        given = location.numbers(row["pixel_um"], "pixel_um", where)
        pairs = zip((given[0], given[-1]), said, strict=True)
        if any(abs(a - b) > SAME_SPACING * b for a, b in pairs):
            raise InputError(
                f"{where}: pixel_um {row['pixel_um']} is not what the header of {path.name} says"
                f" ({said[0]:g};{said[1]:g} um): mend the table, or leave pixel_um empty"
            )
    for column in ("view", "laterality"):
        row[column] = row[column] or header.get(column, "")
    row["modality"] = row["modality"] or _modality(header)
    row["dataset"] = row["dataset"] or "asked"
    row["patient_id"] = row["patient_id"] or row["lesion_id"]


def _modality(header: dict) -> str:
    """SFM or DM as far as a header tells: a detector's image is DM, a digitized film SFM."""
    if header.get("sop_class", "").startswith("mammography") and header["modality"] == "MG":
        return "" if header.get("spacing_source") == "NominalScannedPixelSpacing" else "DM"
    return "SFM" if header.get("sop_class", "").startswith("secondary capture") else ""
