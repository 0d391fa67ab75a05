"""Write scores as DICOM Structured Reports (TID 1500) for a research PACS, one for each study.

Needs the extra [sr] (highdicom).
"""

import hashlib
import io
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from mtl_jax.bundle import sr_content
from mtl_jax.bundle.lesion_table import LesionRow
from mtl_jax.bundle.model import Model
from mtl_jax.bundle.scoring import LesionScore, ViewScore
from mtl_jax.imaging.dicom_fields import read_dataset
from mtl_jax.types import UNKNOWN, InputError, prefix_errors

MISSING_EXTRA = "--sr needs the extra [sr]: pip install 'mtl_jax[sr]'"
REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Type 2 attributes of the study: required, but may be empty.
TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
# UIDs and times of the report. The SOP Instance UID is derived from all other attributes.
FILE_FIELDS = ("SOPInstanceUID", "SeriesInstanceUID", "InstanceCreationDate")
FILE_FIELDS += ("InstanceCreationTime", "ContentDate", "ContentTime")

ReportItem = tuple[LesionScore, ViewScore, Dataset]


def check(model: Model, rows: Sequence[LesionRow]) -> None:
    """Check before the scoring that reports can be made, by making them with arbitrary scores.

    Raises InputError if highdicom is not installed, an image is not DICOM, or a header is invalid.
    """
    if find_spec("highdicom") is None:
        raise InputError(MISSING_EXTRA)
    headers: dict[Path, Dataset] = {}
    lesions = []
    for row in rows:
        path = row.view.image_path
        if not row.header:
            raise InputError(
                f"{row.where}: {row.name}: a Structured Report can refer to DICOM images only; omit"
                " --sr"
            )
        if path not in headers:
            headers[path] = _read_header(path)
        probability = float(model.probability([0.5], "lesion")[0])
        view = ViewScore(row, 0.5, 0.5, (), np.zeros(0), None)
        ids = row.view.case_id, row.view.lesion_id, UNKNOWN
        lesions.append(LesionScore(*ids, 0.5, probability, 0.0, 0.0, (), (), (view,)))
    _make_reports(model, lesions)


def render(model: Model, lesions: Sequence[LesionScore]) -> dict[str, bytes]:
    """Return one report for each study, by file name. Call `check` before the scoring."""
    files = {}
    for number, report in enumerate(_make_reports(model, lesions), start=1):
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report.save_as(file, enforce_file_format=True)
        files[f"sr/report-{number:04d}.dcm"] = file.getvalue()
    return files


def _make_reports(model: Model, lesions: Sequence[LesionScore]) -> list[Dataset]:
    studies: dict[str, list[ReportItem]] = {}
    headers: dict[Path, Dataset] = {}
    for lesion in lesions:
        for view in lesion.views:
            path = view.row.view.image_path
            if path not in headers:
                headers[path] = _read_header(path)
            study = str(headers[path].StudyInstanceUID)
            studies.setdefault(study, []).append((lesion, view, headers[path]))
    reports = []
    with warnings.catch_warnings():
        # Warnings about values of the image headers, which are copied unchanged.
        warnings.simplefilter("ignore")
        for items in studies.values():
            try:
                reports.append(_set_uids(sr_content.build_report(model, items)))
            # highdicom and pydicom raise many exception types for invalid values.
            except Exception as error:
                path, field = items[0][1].row.view.image_path, _invalid_field(model, items)
                raise InputError(
                    f"{path}: no Structured Report can be made for its study: {field}"
                    f" ({type(error).__name__}); correct the header, or omit --sr"
                ) from error
    return reports


def _invalid_field(model: Model, items: Sequence[ReportItem]) -> str:
    """Name the field whose value prevents the report; found by emptying one field after another."""
    header = items[0][2]
    for keyword in TYPE_2:
        try:
            changed = _without(header, (keyword,))
            setattr(changed, keyword, "")
            _set_uids(sr_content.build_report(model, [(*item[:2], changed) for item in items]))
        except Exception as error:
            del error
            continue
        return f"field {keyword} is invalid by the DICOM standard"
    return "a field of the header is missing or invalid by the DICOM standard"


def _read_header(path: Path) -> Dataset:
    with prefix_errors(path):
        header = read_dataset(path)
    for keyword in REQUIRED:
        if not header.get(keyword):
            raise InputError(
                f"{path}: {keyword} is missing, which a Structured Report needs; omit --sr"
            )
    for keyword in TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _set_uids(report: Dataset) -> Dataset:
    """Derive the UIDs from the content without the time, so that a PACS stores a report once."""
    for equipment in report.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in equipment:
            del equipment.ContributionDateTime
    file = io.BytesIO()
    pydicom.dcmwrite(file, _without(report, FILE_FIELDS), implicit_vr=True, little_endian=True)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    report.SeriesInstanceUID = sr_content.uid("series", digest)
    report.SOPInstanceUID = sr_content.uid("instance", digest)
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    return report


def _without(dataset: Dataset, keywords: Sequence[str]) -> Dataset:
    """Return a shallow copy without these elements."""
    copy = Dataset()
    for element in dataset:
        if element.keyword not in keywords:
            copy.add(element)
    return copy
