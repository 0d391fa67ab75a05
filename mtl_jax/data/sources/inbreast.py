"""Read INbreast as released: DICOM images, one property list of outlines each, INbreast.csv.

Moreira IC et al. (2012) "INbreast: toward a full-field digital mammographic database", Academic
Radiology 19(2) 236-248. The reference standard is the BI-RADS category of an image.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data.sources import osirix, table
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging.dicom_fields import read_dataset
from mtl_jax.imaging.dicom_spacing import get_spacing
from mtl_jax.types import Collection, InputError, LesionView

PIXEL_UM = 70.0
DEFAULT_SPACING = ((PIXEL_UM, PIXEL_UM), "stated by the collection")
COLUMNS = ("Laterality", "View", "Acquisition date", "File Name", "Bi-Rads")
OTHER_VIEW = "the table states another side or view; that of the file name is used"
UNKNOWN_NAME = "its name does not have the form NUMBER_PATIENT_MG_SIDE_VIEW_ANON.dcm"
LABELS = {
    **dict.fromkeys(("1", "2", "3"), 0),
    **dict.fromkeys(("4", "4a", "4b", "4c", "5", "6"), 1),
}
VIEWS = {"CC": "CC", "MLO": "MLO", "ML": "MLO"}
# Names of outlines by kind: how each spelling of the readers begins.
KINDS = {
    "mass": ("mass",),
    "spiculated_region": ("spiculated", "espiculated"),
    "distortion": ("distortion", "architectural"),
    "asymmetry": ("asymmetry", "assymetry", "asimmetry", "assimetry", "assymmetry"),
    "calcification": ("calcification", "cluster", "calcs"),
}
_IMAGE = re.compile(r"(\d{1,12})_([0-9a-f]{1,64})_MG_([LR])_(CC|MLO|ML)_ANON", re.IGNORECASE)


class _Image(NamedTuple):
    """Facts of a DICOM file from its name and the table."""

    path: Path
    number: str
    patient: str
    laterality: str
    view: str
    date: str
    birads: str
    note: str
    where: str


def read_collection(path: str, *, kinds: tuple[str, ...], link_views: bool) -> Collection:
    """Return the outlined lesions of the chosen KINDS; `path` may be a folder above the release.

    The collection does not link lesions across views: each outline is a lesion. With `link_views`,
    two outlines are one lesion if they are the only chosen ones in the two views of an examination
    of a breast, and the BI-RADS categories agree on the class.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise InputError(
            f"config.data.inbreast.kinds={kinds} is invalid: expected some of {', '.join(KINDS)}"
        )
    root = table.find_root(path, "AllDICOMs", "inbreast")
    left_out: list[tuple[str, str]] = []
    views: list[LesionView] = []
    dates: list[str] = []
    errors = TableErrors(root / "INbreast.csv")
    for image in _images(root, _rows(root, errors), left_out, errors):
        try:
            image_views = _lesion_views(image, root, kinds, left_out)
        except InputError as error:
            left_out.append((image.path.name, str(error)))
            continue
        views += image_views
        dates += [image.date] * len(image_views)
    errors.check()
    links = _link_lesions(views, dates) if link_views else {}
    views = [replace(view, lesion_id=links.get(view.lesion_id, view.lesion_id)) for view in views]
    return Collection(
        *("inbreast", root, tuple(views), tuple(left_out)),
        _decisions(kinds, link_views, len(set(links.values())), views),
        public_ids=True,
    )


def _rows(root: Path, errors: TableErrors) -> dict[str, tuple[str, table.Row]]:
    """Return (where, row) of each image number; invalid rows go to `errors`."""
    listing = root / "INbreast.csv"
    if not listing.is_file():
        advice = "; INbreast.xls cannot be read: save it as CSV" * (root / "INbreast.xls").is_file()
        raise InputError(f"inbreast: no INbreast.csv in {root}{advice}")
    rows: dict[str, tuple[str, table.Row]] = {}
    for where, row in table.read_rows(listing, COLUMNS, errors):
        number = row["File Name"] or f"line {where.rpartition(' ')[2]}"  # a remark, not an image
        if number in rows and rows[number][1] != row:
            errors.add(where, f"File Name {number!r} has other values in an earlier row")
        rows.setdefault(number, (where, row))
    return rows


def _images(
    root: Path,
    rows: dict[str, tuple[str, table.Row]],
    left_out: list[tuple[str, str]],
    errors: TableErrors,
) -> Iterator[_Image]:
    """Yield the images with a row; images without a row, and the reverse, are left out."""
    seen = set()
    for path in sorted((root / "AllDICOMs").iterdir()):
        name = _IMAGE.fullmatch(path.stem)
        if not name or path.suffix.lower() != ".dcm":
            left_out.append((path.name, UNKNOWN_NAME))
            continue
        number, patient, side, view = name.groups()
        seen.add(number)
        if number not in rows:
            left_out.append((path.name, "not in INbreast.csv"))
            continue
        where, row = rows[number]
        side, view = side.upper(), VIEWS[view.upper()]
        birads = row["Bi-Rads"].lower()
        if birads not in (*LABELS, "", "0"):
            errors.add(
                where,
                f"Bi-Rads {row['Bi-Rads']!r} is invalid: expected one of {', '.join(LABELS)}",
            )
            continue
        table_view = (row["Laterality"].upper(), VIEWS.get(row["View"].upper(), row["View"]))
        note = "" if table_view == (side, view) else f"{OTHER_VIEW} ({' '.join(table_view)})"
        date = row["Acquisition date"]
        yield _Image(path, number, patient.lower(), side, view, date, birads, note, where)
    left_out += [
        (number, "row of INbreast.csv without an image in AllDICOMs")
        for number in rows
        if number not in seen
    ]
    left_out += [
        (path.name, "outlines without an image in AllDICOMs")
        for path in sorted((root / "AllXML").glob("*.xml"))
        if path.stem not in seen
    ]


def _lesion_views(
    image: _Image, root: Path, kinds: Sequence[str], left_out: list[tuple[str, str]]
) -> list[LesionView]:
    """Return the chosen outlines of an image; InputError gives the reason for a damaged file."""
    outlines = root / "AllXML" / f"{image.number}.xml"
    if not outlines.is_file():
        left_out.append((image.path.name, "no finding: it has no XML"))
        return []
    views = []
    spacing = None
    seen: list[object] = []
    for number, (name, points) in enumerate(osirix.read_outlines(outlines), start=1):
        item = f"{image.number}-{number}"
        if reason := _reason_to_leave_out(name, len(points), image.birads, kinds):
            left_out.append((item, reason))
            continue
        if points in seen:
            left_out.append((item, "duplicate of an earlier outline of the image"))
            continue
        seen.append(points)
        spacing = spacing or get_spacing(read_dataset(image.path)) or DEFAULT_SPACING
        columns, rows = zip(*points, strict=True)
        views.append(
            LesionView(
                collection="inbreast",
                image_path=image.path,
                box=(min(rows), min(columns), max(rows), max(columns)),
                case_id=image.patient,
                lesion_id=item,
                view=image.view,
                laterality=image.laterality,
                modality="DM",
                label=LABELS[image.birads],
                truth_source="birads",
                pixel_um=spacing[0],
                spacing_source=spacing[1],
                note=image.note,
                where=image.where,
            )
        )
    return views


def _reason_to_leave_out(name: str, points: int, birads: str, kinds: Sequence[str]) -> str | None:
    lower_name = name.strip().lower()
    kinds_of_name = (k for k, prefixes in KINDS.items() if lower_name.startswith(prefixes))
    kind = next(kinds_of_name, None)
    if kind is None:
        return f"outline of unknown kind {name.strip()[:40]!r}"
    if kind not in kinds:
        return f"kind {kind} not chosen"
    if points <= 2:
        return f"{kind} marked by {points} point(s), not by an outline"
    if birads not in LABELS:
        return f"BI-RADS {birads or '(empty)'} of its image is neither benign nor malignant"
    return None


def _link_lesions(views: Sequence[LesionView], dates: Sequence[str]) -> dict[str, str]:
    """Return {lesion id: linked id} where CC and MLO of a breast at one date have one lesion."""
    breasts: dict[tuple[str, str, str], list[LesionView]] = {}
    for view, date in zip(views, dates, strict=True):
        breasts.setdefault((view.case_id, view.laterality, date), []).append(view)
    links = {}
    for breast in breasts.values():
        same_label = len({view.label for view in breast}) == 1
        if sorted(view.view for view in breast) == ["CC", "MLO"] and same_label:
            lesion_ids = sorted(view.lesion_id for view in breast)
            links |= dict.fromkeys(lesion_ids, "+".join(lesion_ids))
    return links


def _decisions(
    kinds: Sequence[str], link_views: bool, n_linked: int, views: Sequence[LesionView]
) -> tuple[str, ...]:
    sources = Counter(view.spacing_source for view in views)
    spacing = ", ".join(f"{count} from {source}" for source, count in sorted(sources.items()))
    n_differing = sum(bool(view.note) for view in views)
    links = f"linked where each of the two views has exactly one: {n_linked} lesions in two views"
    return (
        "inbreast: the reference standard is BI-RADS, 1 to 3 benign and 4a to 6 malignant; it is a"
        " category of the image and applies to every lesion in it",
        "inbreast: a case is a patient, the code in the file name; ML in a file name is MLO",
        f"inbreast: selected kinds: {', '.join(kinds)}, by the name of each outline",
        "inbreast: the collection does not link lesions across views; here they are "
        + (links if link_views else "not linked: each outline is a lesion"),
        f"inbreast: pixel size {PIXEL_UM:g} um unless the header states it: {spacing or '-'}",
        f"inbreast: side or view in the table differs from the file name in {n_differing} lesion"
        " views; that of the file name is used",
    )
