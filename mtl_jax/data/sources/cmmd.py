"""CMMD as on TCIA: DICOM, the clinical table, and the user's own boxes.

Cui C et al. (2021) "The Chinese Mammography Database (CMMD)", The Cancer Imaging Archive. It marks
no lesion: a CSV of boxes, drawn by the user, says where the lesions are (docs/collections.md).
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mtl_jax.data.sources import lesion_consistency, location, table
from mtl_jax.data.table_errors import TableFaults
from mtl_jax.data.table_paths import find_file
from mtl_jax.imaging import dicom_header
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.types import Collection, InputError, LesionView

CLINICAL = ("CMMD_clinicaldata_revision.xlsx", "CMMD_clinicaldata_revision.csv")
COLUMNS = ("ID1", "LeftRight", "abnormality", "classification")
BOX_KINDS = tuple(kind for kind in location.KINDS if kind != "mask_path")
LABELS = {"malignant": 1, "benign": 0}
MASSES = ("mass", "both")
VIEWS = ("CC", "MLO", "ML", "LM")
_PATIENT = re.compile(r"D[12]-\d{4}")

Breast = tuple[str, str]  # patient and side
Lesions = dict[tuple[str, str], tuple[str, set[Path]]]  # side and images, by patient and lesion


def read_collection(path: str, *, boxes: str | None) -> Collection:
    """Return the lesions that the CSV `boxes` marks in the collection in folder `path`.

    Its columns: image_path, relative to `path`; one of box, circle, polygon or centre, as in a
    manifest; and, where views are to be linked, lesion_id, the same in each view of a lesion.
    Patient, side and view are the image's own tags; the truth is the biopsy of that breast.
    InputError: no boxes, no folder or clinical table, or damaged rows of either table.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"cmmd: no such folder {root}")
    if not boxes:
        raise InputError(
            "cmmd marks no lesions, so config.data.cmmd.boxes must name a CSV of your own with the"
            " columns image_path and box (top;left;bottom;right): docs/collections.md"
        )
    breasts = _breasts(root)
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    count: Counter[Path] = Counter()
    lesions: Lesions = {}
    optional = (*BOX_KINDS, "bbox", "lesion_id")
    faults = TableFaults(Path(boxes))
    rows = table.read_rows(Path(boxes), ("image_path",), optional=optional, faults=faults)
    for place, row in rows:
        with faults.collected(place):
            image = find_file(root, row["image_path"], "image_path", place, outside=False)
            count[image] += 1
            item = f"{image.relative_to(root).as_posix()}-{count[image]}"
            found = _located(row, image, place)
            try:
                view = _lesion_view(image, found.box, row["lesion_id"] or item, breasts)
            except InputError as reason:
                left_out.append((item, str(reason)))
                continue
            _reject_other_breast(lesions, view, place)
            views.append(replace(view, note=found.note, where=place))
    views = lesion_consistency.check_lesions(views, faults)
    faults.check()
    left_out += [
        (image.relative_to(root).as_posix(), "no box")
        for image in sorted(root.rglob("*.dcm"))
        if image not in count
    ]
    found = {(view.case_id, view.laterality) for view in views}
    left_out += [
        (f"{patient} {side}", "no box in this breast")
        for patient, side in breasts
        if (patient, side) not in found
    ]
    decisions = (
        "cmmd: truth is the biopsy of the breast, given to every lesion boxed in it",
        "cmmd: a case is a patient; patient, side and view are those of the image's header",
        f"cmmd: lesions are where the boxes say, {len(views)} in {len(count)} images; breasts whose"
        " abnormality is calcification alone hold no mass and are left out",
    )
    return Collection("cmmd", root, tuple(views), tuple(left_out), decisions, public_ids=True)


def _breasts(root: Path) -> dict[Breast, tuple[str, str]]:
    """Return (abnormality, classification) of each breast, in small letters; conflicts say
    'both'."""
    tables = [found for name in CLINICAL for found in sorted(root.rglob(name))]
    if not tables:
        raise InputError(f"cmmd: neither {' nor '.join(CLINICAL)} in {root}")
    breasts: dict[Breast, tuple[str, str]] = {}
    faults = TableFaults(tables[0])
    for place, row in table.read_rows(tables[0], COLUMNS, faults=faults):
        side, label = row["LeftRight"].upper(), row["classification"].lower()
        fault = ""
        if not row["ID1"]:
            fault = "ID1 is empty"
        elif side not in ("L", "R"):
            fault = f"LeftRight {row['LeftRight']!r} is neither L nor R"
        elif label not in LABELS:
            fault = f"classification {row['classification']!r} is neither Benign nor Malignant"
        if fault:
            faults.add(place, fault)
            continue
        before = breasts.get((row["ID1"], side), ("", label))
        kind = row["abnormality"].lower()
        breasts[row["ID1"], side] = (
            kind if before[0] in ("", kind) else "both",
            label if before[1] == label else "conflicting",
        )
    faults.check()
    return breasts


def _lesion_view(
    image: Path, box: location.Box, lesion_id: str, breasts: dict[Breast, tuple[str, str]]
) -> LesionView:
    """InputError says why there is none."""
    header = dicom_header.read_dataset(image)
    patient = str(dicom_header.get_value(header, "PatientID") or "").strip()
    side, view = dicom_header.get_laterality(header)[0], dicom_header.get_view(header)[0]
    if not _PATIENT.fullmatch(patient):
        raise InputError("its PatientID is not one of the collection")
    if not side or view not in VIEWS:
        raise InputError("its header does not say a side and a view")
    if (patient, side) not in breasts:
        raise InputError(f"no row for breast {side} of {patient} in the clinical table")
    abnormality, classification = breasts[patient, side]
    if abnormality not in MASSES:
        raise InputError(f"abnormality of the breast is {abnormality or '(empty)'}, no mass")
    if classification not in LABELS:
        raise InputError("two rows of its breast differ in classification")
    spacing = dicom_header.get_spacing(header)
    if spacing is None:
        raise InputError("its header does not say the pixel size")
    check_pixel_um(*spacing)
    return LesionView(
        collection="cmmd",
        image_path=image,
        box=box,
        case_id=patient,
        lesion_id=lesion_id,
        view=view,
        laterality=side,
        modality="DM",
        label=LABELS[classification],
        truth_source="biopsy",
        pixel_um=spacing[0],
        spacing_source=spacing[1],
    )


def _reject_other_breast(lesions: Lesions, view: LesionView, place: str) -> None:
    """One lesion is in one breast, and once in an image."""
    key = (view.case_id, view.lesion_id)
    side, images = lesions.setdefault(key, (view.laterality, set()))
    if side != view.laterality:
        raise InputError(f"{place}: lesion_id {view.lesion_id!r} is in the other breast above")
    if view.image_path in images:
        raise InputError(f"{place}: lesion_id {view.lesion_id!r} stands twice for this image")
    images.add(view.image_path)


def _located(row: table.Row, image: Path, place: str) -> location.LesionBox:
    cells = {kind: row[kind] for kind in BOX_KINDS} | {"mask_path": ""}
    cells["box"] = row["box"] or row["bbox"]
    return location.locate_lesion(cells, image, None, None, False, place)
