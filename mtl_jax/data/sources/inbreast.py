"""INbreast as released: DICOM images, a plist of outlines each, INbreast.csv.

Moreira IC et al. (2012) "INbreast: toward a full-field digital mammographic database", Academic
Radiology 19(2) 236-248. Its truth is the BI-RADS of a whole image, not a pathology of a lesion.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data.sources import osirix, table
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging import dicom_header
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import Collection, InputError, LesionView

PIXEL_UM = 70.0
USUAL_SPACING = ((PIXEL_UM, PIXEL_UM), "stated by the collection")
COLUMNS = ("Laterality", "View", "Acquisition date", "File Name", "Bi-Rads")
OTHER_TABLE = "the table says another side or view, and the file name is taken"
LABELS = {
    **dict.fromkeys(("1", "2", "3"), 0),
    **dict.fromkeys(("4", "4a", "4b", "4c", "5", "6"), 1),
}
VIEWS = {"CC": "CC", "MLO": "MLO", "ML": "MLO"}
# The names that readers gave to outlines, by the first letters of each spelling of it.
KINDS = {
    "mass": ("mass",),
    "spiculated_region": ("spiculated", "espiculated"),
    "distortion": ("distortion", "architectural"),
    "asymmetry": ("asymmetry", "assymetry", "asimmetry", "assimetry", "assymmetry"),
    "calcification": ("calcification", "cluster", "calcs"),
}
_IMAGE = re.compile(r"(\d{1,12})_([0-9a-f]{1,64})_MG_([LR])_(CC|MLO|ML)_ANON", re.IGNORECASE)


class _Image(NamedTuple):
    """What the name of one DICOM file says, and what the table says of it."""

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
    """Return the outlined lesions of the chosen `kinds` (names of KINDS) in the release in folder
    `path`.

    Views of a breast carry no link between their lesions: each outline is a lesion of its own. With
    `link_views`, where both views of one examination of a breast hold exactly one chosen outline
    and their BI-RADS agree on the class, the two are one lesion.
    InputError: no such folder, no or a damaged INbreast.csv, an unknown kind.
    """
    if not kinds or set(kinds) - set(KINDS):
        unknown = ", ".join(sorted(set(kinds) - set(KINDS))) or "()"
        raise InputError(f"inbreast kinds {unknown}: valid ones are {', '.join(KINDS)}")
    root = table.find_root(path, "AllDICOMs", "inbreast")
    left_out: list[tuple[str, str]] = []
    views: list[LesionView] = []
    dates: list[str] = []
    faults = TableErrors(root / "INbreast.csv")
    for image in _images(root, _rows(root, faults), left_out, faults):
        try:
            found = _lesions(image, root, kinds, left_out)
        except InputError as error:
            left_out.append((image.path.name, str(error)))
            continue
        views += found
        dates += [image.date] * len(found)
    faults.check()
    linked = _link(views, dates) if link_views else {}
    views = [replace(view, lesion_id=linked.get(view.lesion_id, view.lesion_id)) for view in views]
    return Collection(
        *("inbreast", root, tuple(views), tuple(left_out)),
        _decisions(kinds, link_views, len(set(linked.values())), views),
        public_ids=True,
    )


def _rows(root: Path, faults: TableErrors) -> dict[str, tuple[str, table.Row]]:
    """Return (place, row) by the number of the image; rows that cannot be used go to `faults`."""
    listing = root / "INbreast.csv"
    if not listing.is_file():
        older = "; INbreast.xls cannot be read: save it as CSV" * (root / "INbreast.xls").is_file()
        raise InputError(f"inbreast: no INbreast.csv in {root}{older}")
    rows: dict[str, tuple[str, table.Row]] = {}
    for place, row in table.read_rows(listing, COLUMNS, faults=faults):
        number = row["File Name"] or f"line {place.rpartition(' ')[2]}"  # a remark, not an image
        if number in rows and rows[number][1] != row:
            faults.add(place, f"File Name {number!r} stands above with other values")
        rows.setdefault(number, (place, row))
    return rows


def _images(
    root: Path,
    rows: dict[str, tuple[str, table.Row]],
    left_out: list[tuple[str, str]],
    faults: TableErrors,
) -> Iterator[_Image]:
    """Yield the images that have a row; whatever has no counterpart is left out and named."""
    seen = set()
    for path in sorted((root / "AllDICOMs").iterdir()):
        name = _IMAGE.fullmatch(path.stem)
        if not name or path.suffix.lower() != ".dcm":
            left_out.append((path.name, "not named NUMBER_PATIENT_MG_SIDE_VIEW_ANON.dcm"))
            continue
        number, patient, side, view = name.groups()
        seen.add(number)
        if number not in rows:
            left_out.append((path.name, "not in INbreast.csv"))
            continue
        place, row = rows[number]
        side, view = side.upper(), VIEWS[view.upper()]
        birads = row["Bi-Rads"].lower()
        if birads not in (*LABELS, "", "0"):
            faults.add(place, f"Bi-Rads {row['Bi-Rads']!r} is none of {', '.join(LABELS)}")
            continue
        table_values = (row["Laterality"].upper(), VIEWS.get(row["View"].upper(), row["View"]))
        note = (
            ""
            if table_values == (side, view)
            else f"{OTHER_TABLE} ({table_values[0]} {table_values[1]})"
        )
        date = row["Acquisition date"]
        yield _Image(path, number, patient.lower(), side, view, date, birads, note, place)
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


def _lesions(
    image: _Image, root: Path, kinds: Sequence[str], left_out: list[tuple[str, str]]
) -> list[LesionView]:
    """Return the chosen outlines of one image. InputError gives the reason alone, for a damaged
    file."""
    outlines = root / "AllXML" / f"{image.number}.xml"
    if not outlines.is_file():
        left_out.append((image.path.name, "no finding: it has no XML"))
        return []
    views = []
    spacing = None
    drawn: list[object] = []
    for number, (name, points) in enumerate(osirix.read_outlines(outlines), start=1):
        item = f"{image.number}-{number}"
        if reason := _reason_to_leave_out(name, len(points), image.birads, kinds):
            left_out.append((item, reason))
            continue
        if points in drawn:
            left_out.append((item, "the same outline stands above"))
            continue
        drawn.append(points)
        spacing = spacing or _spacing(image.path)
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
    word = name.strip().lower()
    kind = next((kind for kind, starts in KINDS.items() if word.startswith(starts)), None)
    if kind is None:
        return f"outline named {name.strip()[:40]!r}, which says no kind"
    if kind not in kinds:
        return f"kind {kind} not chosen"
    if points <= 2:
        return f"{kind} marked by {points} point(s), not outlined"
    if birads not in LABELS:
        return f"BI-RADS {birads or '(empty)'} of its image says neither benign nor malignant"
    return None


def _spacing(path: Path) -> tuple[tuple[float, float], str]:
    spacing = dicom_header.get_spacing(dicom_header.read_dataset(path)) or USUAL_SPACING
    check_pixel_um(*spacing)
    return spacing


def _link(views: Sequence[LesionView], dates: Sequence[str]) -> dict[str, str]:
    """Return {lesion: linked lesion} where CC and MLO of a breast at one date hold one lesion
    each."""
    breasts: dict[tuple[str, str, str], list[LesionView]] = {}
    for view, date in zip(views, dates, strict=True):
        breasts.setdefault((view.case_id, view.laterality, date), []).append(view)
    linked = {}
    for found in breasts.values():
        if (
            sorted(view.view for view in found) == ["CC", "MLO"]
            and found[0].label == found[1].label
        ):
            linked |= dict.fromkeys([view.lesion_id for view in found], _joined(found))
    return linked


def _joined(views: Sequence[LesionView]) -> str:
    return "+".join(sorted(view.lesion_id for view in views))


def _decisions(
    kinds: Sequence[str], link_views: bool, linked: int, views: Sequence[LesionView]
) -> tuple[str, ...]:
    sources = Counter(view.spacing_source for view in views)
    spacing = ", ".join(f"{count} from {source}" for source, count in sorted(sources.items()))
    mismatched = sum(bool(view.note) for view in views)
    links = f"linked where each of the two views holds exactly one: {linked} lesions in two views"
    return (
        "inbreast: truth is BI-RADS 1 to 3 benign, 4a to 6 malignant; it was given to the whole"
        " image, so every lesion of an image has the same",
        "inbreast: a case is a patient, the code in the file name; ML in a file name is MLO",
        f"inbreast: kinds taken: {', '.join(kinds)}, by the name of each outline",
        "inbreast: the collection does not link lesions across views; here they are "
        + (links if link_views else "not linked: each outline is a lesion of its own"),
        f"inbreast: pixel size {PIXEL_UM:g} um unless the header says otherwise: {spacing or '-'}",
        f"inbreast: side or view in the table differs from the file name in {mismatched} lesion"
        " views; the file name was taken",
    )
