"""Write scores as DICOM Structured Reports (TID 1500), so that a research PACS can show them.

One report for each study. It scores nothing, and needs the [sr] extra (highdicom).
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
from mtl_jax.types import UNKNOWN, InputError, naming

NEEDS = "a Structured Report needs the [sr] extra: pip install 'mtl_jax[sr]'"
REFERRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Type 2 in the study: they must be there, and may be empty.
TYPE_2 = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
# Names of the report itself and the time of its making: all else decides the SOP Instance UID.
OF_THE_FILE = ("SOPInstanceUID", "SeriesInstanceUID", "InstanceCreationDate")
OF_THE_FILE += ("InstanceCreationTime", "ContentDate", "ContentTime")

Found = tuple[LesionScore, ViewScore, Dataset]


def check(model: Model, asked: Sequence[LesionRow]) -> None:
    """Raise InputError, before any work is done, where a report could not be made.

    Every report is made once with made-up scores: an image that is no DICOM, a header without what
    a report refers to, or no highdicom are found here.
    """
    if find_spec("highdicom") is None:
        raise InputError(NEEDS)
    headers: dict[Path, Dataset] = {}
    trial = []
    for one in asked:
        path = one.view.image_path
        if not one.header:
            raise InputError(
                f"{one.where}: {one.name}: a Structured Report can refer to DICOM images only;"
                " leave out --sr"
            )
        if path not in headers:
            headers[path] = _header(path)
        probability = float(model.probability([0.5], "lesion")[0])
        view = ViewScore(one, 0.5, 0.5, (), np.zeros(0), None)
        ids = one.view.case_id, one.view.lesion_id, UNKNOWN
        trial.append(LesionScore(*ids, 0.5, probability, 0.0, 0.0, (), (), (view,)))
    _reports(model, trial)


def write(folder: Path, model: Model, lesions: Sequence[LesionScore]) -> list[Path]:
    """Write one report for each study into `folder`, which is made; return their paths.

    `check` has to have passed.
    """
    reports = _reports(model, lesions)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, report in enumerate(reports, start=1):
        made.append(folder / f"report-{number:04d}.dcm")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report.save_as(made[-1], enforce_file_format=True)
    return made


def _reports(model: Model, lesions: Sequence[LesionScore]) -> list[Dataset]:
    studies: dict[str, list[Found]] = {}
    headers: dict[Path, Dataset] = {}
    for lesion in lesions:
        for view in lesion.views:
            path = view.asked.view.image_path
            if path not in headers:
                headers[path] = _header(path)
            study = str(headers[path].StudyInstanceUID)
            studies.setdefault(study, []).append((lesion, view, headers[path]))
    reports = []
    with warnings.catch_warnings():
        # Of values in the images' own headers, which are taken over as they are.
        warnings.simplefilter("ignore")
        for found in studies.values():
            try:
                reports.append(_identified(sr_content.build_report(model, found)))
            # highdicom and pydicom raise many types on values that the standard does not allow.
            except Exception as error:
                path, field = found[0][1].asked.view.image_path, _field_at_fault(model, found)
                raise InputError(
                    f"{path}: no Structured Report can be made of its study: {field}"
                    f" ({type(error).__name__}); correct the header, or leave out --sr"
                ) from error
    return reports


def _field_at_fault(model: Model, found: Sequence[Found]) -> str:
    """Return the name of the field without whose value the report can be made."""
    header = found[0][2]
    for keyword in TYPE_2:
        try:
            changed = _without(header, (keyword,))
            setattr(changed, keyword, "")
            _identified(sr_content.build_report(model, [(*one[:2], changed) for one in found]))
        except Exception as error:
            del error
            continue
        return f"its field {keyword} is not as the standard says"
    return "a field of its header is missing or not as the standard says"


def _header(path: Path) -> Dataset:
    with naming(path):
        header = read_dataset(path)
    for keyword in REFERRED:
        if not header.get(keyword):
            raise InputError(
                f"{path}: it has no {keyword}, which a Structured Report refers to; leave out --sr"
            )
    for keyword in TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _identified(report: Dataset) -> Dataset:
    """Name the report by its whole content but the time: sent twice, a PACS keeps one."""
    for maker in report.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in maker:
            del maker.ContributionDateTime  # the time again, optional
    file = io.BytesIO()
    pydicom.dcmwrite(file, _without(report, OF_THE_FILE), implicit_vr=True, little_endian=True)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    report.SeriesInstanceUID = sr_content.uid("series", digest)
    report.SOPInstanceUID = sr_content.uid("instance", digest)
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    return report


def _without(dataset: Dataset, keywords: Sequence[str]) -> Dataset:
    """Return a copy without these elements; the elements themselves are shared."""
    kept = Dataset()
    for element in dataset:
        if element.keyword not in keywords:
            kept.add(element)
    return kept
