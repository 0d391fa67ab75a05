"""Scores as DICOM Structured Reports (TID 1500), so that a research PACS can show them.

One report a study: a planar region for each lesion in each image, with its score, what computed it,
and that it is for research only. It scores nothing, and needs the [sr] extra (highdicom).
"""

import hashlib
import math
import warnings
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from mtl_jax.bundle.lesions import DICOM, Asked
from mtl_jax.bundle.model import Model
from mtl_jax.bundle.scoring import LesionScore, ViewScore
from mtl_jax.nouns import InputError

if TYPE_CHECKING:
    import highdicom

SCHEME = "99MTLJAX"
NEEDS = "a Structured Report needs the [sr] extra: pip install 'mtl_jax[sr]'"
ONLY = "Research use only, not for clinical use"
SERIES = 9001  # far from what a device numbers
MASS = Code("4147007", "SCT", "Mass")
BREAST = Code("76752008", "SCT", "Breast")
SIDES = {"L": Code("7771000", "SCT", "Left"), "R": Code("24028007", "SCT", "Right")}
MAMMOGRAPHY = Code("71651007", "SCT", "Mammography")
RATIO = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "percent")
PROBABILITY = Code("111047", "DCM", "Probability of cancer")
SCORE = Code("SCORE", SCHEME, "Score of this view, 0 benign to 1 malignant")
LESION_SCORE = Code("LESION_SCORE", SCHEME, "Score of the lesion, mean over its views")
USE = Code("USE", SCHEME, "Intended use")
RESEARCH = Code("RESEARCH", SCHEME, ONLY)
RANGE = Code("RANGE", SCHEME, "Training range")
WITHIN = Code("WITHIN", SCHEME, "Within the training range")
OUTSIDE = Code("OUTSIDE", SCHEME, "Outside the training range")
NEURAL_NETWORK = Code("123110", "DCM", "Artificial Intelligence")


def check(asked: Sequence[Asked]) -> None:
    """InputError before any work is done: an image that is no DICOM, or no highdicom here."""
    if find_spec("highdicom") is None:
        raise InputError(NEEDS)
    for one in asked:
        if one.view.image_path.suffix.lower() not in DICOM:
            raise InputError(
                f"{one.where}: {one.name}: a Structured Report can refer to DICOM images only;"
                " leave out --sr"
            )


def write(folder: Path, model: Model, lesions: Sequence[LesionScore]) -> list[Path]:
    """One report a study in `folder`, which is made; their paths. What `check` refuses is not to be
    given."""
    import highdicom

    studies: dict[str, list[tuple[LesionScore, ViewScore, Dataset]]] = {}
    headers: dict[Path, Dataset] = {}
    for lesion in lesions:
        for view in lesion.views:
            path = view.asked.view.image_path
            if path not in headers:
                headers[path] = _header(path)
            study = str(headers[path].StudyInstanceUID)
            studies.setdefault(study, []).append((lesion, view, headers[path]))
    made = []
    with warnings.catch_warnings():
        # Of values in the images' own headers, which are taken over as they are.
        warnings.simplefilter("ignore")
        reports = [_report(highdicom, model, found) for found in studies.values()]
    folder.mkdir(parents=True, exist_ok=True)
    for number, report in enumerate(reports, start=1):
        made.append(folder / f"report-{number:04d}.dcm")
        report.save_as(made[-1], enforce_file_format=True)
    return made


def _header(path: Path) -> Dataset:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        if not header.get(keyword):
            raise InputError(f"{path}: it has no {keyword}, which a Structured Report refers to")
    # Type 2 of the study: they must be there, and may be empty.
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
        *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
    ):
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _report(
    highdicom: "highdicom", model: Model, found: list[tuple[LesionScore, ViewScore, Dataset]]
) -> Dataset:
    images = list({str(header.SOPInstanceUID): header for _, _, header in found}.values())
    version = metadata.version("mtl_jax")
    run = model.about["run"]["id"]
    sr = highdicom.sr
    observer = sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=_uid("device", model.sha256),
            name="mtl_jax",
            manufacturer_name="mtl_jax",
            model_name=f"{run} ({ONLY})",
            serial_number=model.sha256[:16],
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=MAMMOGRAPHY,
        imaging_measurements=[_group(highdicom, model, version, *one) for one in found],
        title=Code("126000", "DCM", "Imaging Measurement Report"),
        referenced_images=images,
    )
    seed = [model.sha256, *(str(image.SOPInstanceUID) for image in images)]
    seed += [f"{view.score:.9g}" for _, view, _ in found]
    report = sr.ComprehensiveSR(
        evidence=images,
        content=content[0],
        series_number=SERIES,
        series_instance_uid=_uid("series", *seed),
        sop_instance_uid=_uid("instance", *seed),
        instance_number=1,
        manufacturer="mtl_jax",
        manufacturer_model_name=run,
        software_versions=version,
        device_serial_number=model.sha256[:16],
        series_description=f"mtl_jax: {ONLY}",
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    return report


def _group(
    highdicom: "highdicom",
    model: Model,
    version: str,
    lesion: LesionScore,
    view: ViewScore,
    header: Dataset,
) -> Dataset:
    """TID 1410: one lesion in one image."""
    sr, asked = highdicom.sr, view.asked.view
    frames = [asked.frame + 1] if int(header.get("NumberOfFrames") or 1) > 1 else None
    top, left, bottom, right = asked.box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    flags = tuple(dict.fromkeys((*view.flags, *lesion.flags)))
    measurements = [
        sr.Measurement(name=SCORE, value=_number(view.score), unit=RATIO),
        sr.Measurement(name=LESION_SCORE, value=_number(lesion.score), unit=RATIO),
    ]
    if not math.isnan(lesion.probability):
        value = _number(100 * lesion.probability)
        measurements.append(sr.Measurement(name=PROBABILITY, value=value, unit=PERCENT))
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=_uid("lesion", str(header.StudyInstanceUID), lesion.case_id, lesion.lesion_id),
            identifier=f"lesion {lesion.lesion_id}"[:64],
        ),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=np.array(corners, np.float32),
            source_image=sr.SourceImageForRegion(
                str(header.SOPClassUID), str(header.SOPInstanceUID), frames
            ),
        ),
        finding_type=MASS,
        finding_sites=[sr.FindingSite(BREAST, laterality=SIDES.get(asked.laterality))],
        algorithm_id=sr.AlgorithmIdentification(
            name=f"mtl_jax {model.about['run']['id']}",
            version=version,
            family=NEURAL_NETWORK,
            parameters=[ONLY, f"bundle SHA-256 {model.sha256}", *flags],
        ),
        measurements=measurements,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=USE, value=RESEARCH),
            sr.QualitativeEvaluation(name=RANGE, value=OUTSIDE if flags else WITHIN),
        ],
    )


def _number(value: float) -> float:
    """Within the 16 characters of a decimal string."""
    return float(f"{value:.9g}")


def _uid(*parts: str) -> str:
    """The same things have the same identity each time."""
    return generate_uid(entropy_srcs=[hashlib.sha256("\0".join(parts).encode()).hexdigest()])
