"""Read CMMD as on TCIA: DICOM images, the clinical table, and boxes drawn by the user.

Cui C et al. (2021) "The Chinese Mammography Database (CMMD)", The Cancer Imaging Archive. The
collection does not locate its lesions; a CSV of the user does (docs/collections.md).
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from mtl_jax.data.sources import lesion_consistency, location, table
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.data.table_paths import find_file
from mtl_jax.imaging.dicom_fields import get_value, read_dataset
from mtl_jax.imaging.dicom_header import get_laterality, get_view
from mtl_jax.imaging.dicom_spacing import get_spacing
from mtl_jax.types import Box, Collection, InputError, LesionView

CLINICAL = ("CMMD_clinicaldata_revision.xlsx", "CMMD_clinicaldata_revision.csv")
COLUMNS = ("ID1", "LeftRight", "abnormality", "classification")
BOX_KINDS = tuple(kind for kind in location.KINDS if kind != "mask_path")
LABELS = {"malignant": 1, "benign": 0}
MASSES = ("mass", "both")
VIEWS = ("CC", "MLO", "ML", "LM")
_PATIENT = re.compile(r"D[12]-\d{4}")

Breast = tuple[str, str]  # patient and side
Findings = dict[Breast, tuple[str, str]]  # abnormality and classification
Lesions = dict[tuple[str, str], tuple[str, set[Path]]]  # side and images, by patient and lesion


def read_collection(path: str, *, boxes: str | None) -> Collection:
    """Return the lesions that the CSV `boxes` marks.

    Its columns are image_path, relative to `path`; one of box, circle, polygon and centre, as in a
    manifest; and optionally lesion_id, the same in each view of a lesion. Patient, side and view
    come from the DICOM header of each image; the reference standard is the biopsy of the breast.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"cmmd: no such folder {root}")
    if not boxes:
        raise InputError(
            "cmmd marks no lesions, so config.data.cmmd.boxes must name a CSV of your own with the"
            " columns image_path and box (top;left;bottom;right): docs/collections.md"
        )
    findings = _read_findings(root)
    views: list[LesionView] = []
    left_out: list[tuple[str, str]] = []
    n_boxes: Counter[Path] = Counter()
    lesions: Lesions = {}
    optional = (*BOX_KINDS, "bbox", "lesion_id")
    errors = TableErrors(Path(boxes))
    rows = table.read_rows(Path(boxes), ("image_path",), errors, optional=optional)
    for where, row in rows:
        with errors.collect(where):
            image = find_file(root, row["image_path"], "image_path", where, outside=False)
            n_boxes[image] += 1
            item = f"{image.relative_to(root).as_posix()}-{n_boxes[image]}"
            lesion_box = _locate_lesion(row, image, where)
            try:
                view = _lesion_view(image, lesion_box.box, row["lesion_id"] or item, findings)
            except InputError as reason:
                left_out.append((item, str(reason)))
                continue
            _check_lesion_id(lesions, view, where)
            views.append(replace(view, note=lesion_box.note, where=where))
    views = lesion_consistency.check_lesions(views, errors)
    errors.check()
    left_out += [
        (image.relative_to(root).as_posix(), "no box")
        for image in sorted(root.rglob("*.dcm"))
        if image not in n_boxes
    ]
    breasts = {(view.case_id, view.laterality) for view in views}
    left_out += [
        (f"{patient} {side}", "no box in this breast")
        for patient, side in findings
        if (patient, side) not in breasts
    ]
    decisions = (
        "cmmd: the reference standard is the biopsy of the breast, which applies to every lesion"
        " marked in it",
        "cmmd: a case is a patient; patient, side and view come from the header of the image",
        f"cmmd: the boxes mark {len(views)} lesion views in {len(n_boxes)} images; breasts whose"
        " abnormality is calcification alone hold no mass and are left out",
    )
    return Collection("cmmd", root, tuple(views), tuple(left_out), decisions, public_ids=True)


def _read_findings(root: Path) -> Findings:
    """Return (abnormality, classification) of each breast in lower case.

    Rows of a breast that differ give the abnormality 'both' or the classification 'conflicting'.
    """
    paths = [path for name in CLINICAL for path in sorted(root.rglob(name))]
    if not paths:
        raise InputError(f"cmmd: neither {' nor '.join(CLINICAL)} in {root}")
    findings: Findings = {}
    errors = TableErrors(paths[0])
    for where, row in table.read_rows(paths[0], COLUMNS, errors):
        side, label = row["LeftRight"].upper(), row["classification"].lower()
        message = ""
        if not row["ID1"]:
            message = "ID1 is empty"
        elif side not in ("L", "R"):
            message = f"LeftRight {row['LeftRight']!r} is invalid: expected L or R"
        elif label not in LABELS:
            message = (
                f"classification {row['classification']!r} is invalid: expected Benign or Malignant"
            )
        if message:
            errors.add(where, message)
            continue
        abnormality = row["abnormality"].lower()
        first_abnormality, first_label = findings.get((row["ID1"], side), ("", label))
        findings[row["ID1"], side] = (
            abnormality if first_abnormality in ("", abnormality) else "both",
            label if first_label == label else "conflicting",
        )
    errors.check()
    return findings


def _lesion_view(image: Path, box: Box, lesion_id: str, findings: Findings) -> LesionView:
    """Return the lesion view; InputError gives the reason to leave it out."""
    header = read_dataset(image)
    patient = str(get_value(header, "PatientID") or "").strip()
    side, view = get_laterality(header)[0], get_view(header)[0]
    if not _PATIENT.fullmatch(patient):
        raise InputError("its PatientID is not one of the collection")
    if not side or view not in VIEWS:
        raise InputError("its header does not state side and view")
    if (patient, side) not in findings:
        raise InputError(f"no row for breast {side} of {patient} in the clinical table")
    abnormality, classification = findings[patient, side]
    if abnormality not in MASSES:
        raise InputError(f"abnormality of the breast is {abnormality or '(empty)'}, not mass")
    if classification not in LABELS:
        raise InputError("two rows of its breast differ in classification")
    spacing = get_spacing(header)
    if spacing is None:
        raise InputError("its header does not state the pixel size")
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


def _check_lesion_id(lesions: Lesions, view: LesionView, where: str) -> None:
    """Reject a lesion id in both breasts, or twice in one image."""
    key = (view.case_id, view.lesion_id)
    side, images = lesions.setdefault(key, (view.laterality, set()))
    if side != view.laterality:
        raise InputError(
            f"{where}: lesion_id {view.lesion_id!r} is in the other breast in an earlier row"
        )
    if view.image_path in images:
        raise InputError(f"{where}: lesion_id {view.lesion_id!r} is repeated for this image")
    images.add(view.image_path)


def _locate_lesion(row: table.Row, image: Path, where: str) -> location.LesionBox:
    cells = {kind: row[kind] for kind in BOX_KINDS} | {"mask_path": ""}
    cells["box"] = row["box"] or row["bbox"]
    return location.locate_lesion(cells, image, None, None, False, where)
