"""Build the content of a Structured Report: the scores of each lesion in each image."""

import hashlib
import math
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from mtl_jax.bundle.lesion_table import TABLE, LesionRow
from mtl_jax.bundle.model import Model
from mtl_jax.bundle.scoring import LesionScore, ViewScore
from mtl_jax.imaging.dicom_fields import get_functional_group
from mtl_jax.imaging.table_vs_header import LATERALITY_FIELDS

if TYPE_CHECKING:
    from highdicom import sr

SCHEME = "99MTLJAX"
RESEARCH_ONLY = "Research use only, not for clinical use"
SERIES_NUMBER = 9001  # above the series numbers of devices
MAX_LO_LENGTH = 64  # characters of value representation LO
MASS = Code("4147007", "SCT", "Mass")
BREAST = Code("76752008", "SCT", "Breast")
SIDES = {"L": Code("7771000", "SCT", "Left"), "R": Code("24028007", "SCT", "Right")}
MAMMOGRAPHY = Code("71651007", "SCT", "Mammography")
RATIO = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "percent")
PROBABILITY = Code("111047", "DCM", "Probability of cancer")
PREVALENCE = Code("PREVALENCE", SCHEME, "Prevalence for which the probability holds")
SCORE = Code("SCORE", SCHEME, "Score of this view, 0 benign to 1 malignant")
LESION_SCORE = Code("LESION_SCORE", SCHEME, "Score of the lesion, mean over its views")
USE = Code("USE", SCHEME, "Intended use")
RESEARCH = Code("RESEARCH", SCHEME, RESEARCH_ONLY)
RANGE = Code("RANGE", SCHEME, "Training range")
WITHIN = Code("WITHIN", SCHEME, "Within the training range")
OUTSIDE = Code("OUTSIDE", SCHEME, "Outside the training range")
NEURAL_NETWORK = Code("123110", "DCM", "Artificial Intelligence")
FRAME_ANATOMY = "FrameAnatomySequence"
# Exceptions of highdicom for an image that lacks attributes of the image library.
LIBRARY_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def build_report(model: Model, items: Sequence[tuple[LesionScore, ViewScore, Dataset]]) -> Dataset:
    """Build the report of one study of each lesion in each image, with the header of the image."""
    from highdicom import sr

    images = list({str(header.SOPInstanceUID): header for _, _, header in items}.values())
    version = metadata.version("mtl_jax")
    run = model.about["run"]["id"]
    observer = sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=uid("device", model.sha256),
            name="mtl_jax",
            manufacturer_name="mtl_jax",
            model_name=f"{run} ({RESEARCH_ONLY})",
            serial_number=model.sha256[:16],
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=MAMMOGRAPHY,
        imaging_measurements=[_measurement_group(model, version, *item) for item in items],
        title=Code("126000", "DCM", "Imaging Measurement Report"),
        referenced_images=[image for image in images if _fits_library(image)] or None,
    )
    return sr.ComprehensiveSR(
        evidence=images,
        content=content[0],
        series_number=SERIES_NUMBER,
        series_instance_uid=uid("series", model.sha256),
        sop_instance_uid=uid("instance", model.sha256),
        instance_number=1,
        manufacturer="mtl_jax",
        manufacturer_model_name=run[:MAX_LO_LENGTH],
        software_versions=version,
        device_serial_number=model.sha256[:16],
        series_description=f"mtl_jax: {RESEARCH_ONLY}",
        specific_character_set="ISO_IR 192",
        is_complete=True,
        is_final=False,
        is_verified=False,
    )


def uid(*parts: str) -> str:
    """Return a UID that depends only on these parts."""
    return generate_uid(entropy_srcs=[hashlib.sha256("\0".join(parts).encode()).hexdigest()])


def laterality_code(row: LesionRow, header: Dataset) -> Code | None:
    """Return the side if the table or a laterality field states it and no other contradicts it.

    PatientOrientation and file names are not used, since a rotated image has those of the other
    side.
    """
    if row.side_source not in (TABLE, *LATERALITY_FIELDS):
        return None
    anatomy = get_functional_group(header, FRAME_ANATOMY, row.view.frame_number)
    fields = [source.get(name) for name in LATERALITY_FIELDS for source in (header, anatomy)]
    sides = {str(field).strip().upper()[:1] for field in fields if field}
    sides |= {row.view.laterality, row.header.get("laterality")}
    sides -= {None, ""}
    return SIDES.get(sides.pop()) if len(sides) == 1 else None


def _fits_library(image: Dataset) -> bool:
    """Return whether the image has the attributes of the optional image library.

    Film and computed radiography often lack orientation or spacing.
    """
    from highdicom import sr

    orientation = image.get("PatientOrientation")  # CBIS-DDSM writes the view here
    is_pair = orientation is not None and not isinstance(orientation, str) and len(orientation) == 2
    if not (is_pair and all(orientation)):
        return False
    try:
        sr.ImageLibrary([image])
    except LIBRARY_ERRORS:
        return False
    return True


def _measurement_group(
    model: Model, version: str, lesion: LesionScore, view: ViewScore, header: Dataset
) -> Dataset:
    """Return the measurement group (TID 1410) of one lesion in one image."""
    from highdicom import sr

    lesion_view = view.row.view
    is_multiframe = int(header.get("NumberOfFrames") or 1) > 1
    frames = [lesion_view.frame_number + 1] if is_multiframe else None
    top, left, bottom, right = lesion_view.box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    flags = tuple(dict.fromkeys((*view.flags, *lesion.flags)))
    notes = [note.text for note in view.notes]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=uid("lesion", str(header.StudyInstanceUID), lesion.case_id, lesion.lesion_id),
            identifier=f"lesion {lesion.lesion_id}"[:MAX_LO_LENGTH],
        ),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=np.array(corners, np.float32),
            source_image=sr.SourceImageForRegion(
                str(header.SOPClassUID), str(header.SOPInstanceUID), frames
            ),
        ),
        finding_type=MASS,
        finding_sites=[sr.FindingSite(BREAST, laterality=laterality_code(view.row, header))],
        algorithm_id=sr.AlgorithmIdentification(
            name=f"mtl_jax {model.about['run']['id']}",
            version=version,
            family=NEURAL_NETWORK,
            parameters=[RESEARCH_ONLY, f"bundle SHA-256 {model.sha256}", *flags, *notes],
        ),
        measurements=_measurements(model, lesion, view),
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=USE, value=RESEARCH),
            sr.QualitativeEvaluation(name=RANGE, value=OUTSIDE if flags else WITHIN),
        ],
    )


def _measurements(model: Model, lesion: LesionScore, view: ViewScore) -> list["sr.Measurement"]:
    """Return the scores, and the probability with its prevalence as a property."""
    from highdicom import sr

    measurements = [
        sr.Measurement(name=SCORE, value=_number(view.score), unit=RATIO),
        sr.Measurement(name=LESION_SCORE, value=_number(lesion.score), unit=RATIO),
    ]
    if not math.isnan(lesion.probability):
        value = _number(100 * lesion.probability)
        measurements.append(sr.Measurement(name=PROBABILITY, value=value, unit=PERCENT))
        prevalence = model.about["calibration"]["lesion"]["prevalence"]
        prevalence_item = sr.NumContentItem(
            name=PREVALENCE,
            value=_number(100 * prevalence),
            unit=PERCENT,
            relationship_type=sr.RelationshipTypeValues.HAS_PROPERTIES,
        )
        measurements[-1][0].ContentSequence = sr.ContentSequence([prevalence_item])
    return measurements


def _number(value: float) -> float:
    """Round to the 16 characters of a decimal string."""
    return float(f"{value:.9g}")
