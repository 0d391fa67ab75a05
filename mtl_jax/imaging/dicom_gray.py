"""Compute the normalized gray value of each stored value of a DICOM image.

An image stores at most 2^16 different values. Modality transformation, logarithm and polarity are
therefore computed per value, in float64, and applied to the pixels as a look-up table.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from mtl_jax.imaging import gray_mapping
from mtl_jax.imaging.dicom_fields import get_code, get_first_item, get_value
from mtl_jax.imaging.dicom_lut import apply_lut
from mtl_jax.types import InputError, Note

FROM_SIGN = "PixelIntensityRelationshipSign"
FROM_PHOTOMETRIC = "PhotometricInterpretation"

RELATIONSHIP_UNKNOWN = (
    "For Processing without PixelIntensityRelationship LIN or LOG: treated as LOG; if it is"
    " linear in exposure, its contrast is wrong"
)
POLARITIES_DIFFER = (
    "PhotometricInterpretation and PresentationLUTShape contradict each other: either one alone"
    " inverts the values"
)
INTENTS_DIFFER = "PresentationIntentType and SOP class disagree; the gray does not depend on it"
SIGN_DIFFERS = (
    "PixelIntensityRelationshipSign and PhotometricInterpretation disagree: the sign is used"
)
OD_OF_DETECTOR = "RescaleType is optical density, but the SOP class is of a digital detector"
IMPLAUSIBLE_OD = "the optical densities are implausible for a film"
# The end of the scale; the film base; the background of every film is darker than EXPOSED_OD.
MAX_OD, MIN_OD, EXPOSED_OD = 4.095, 0.05, 1.0
SLOPE_NEGATIVE = "the modality rescale has a negative slope: it inverts the polarity"


class GrayLUT(NamedTuple):
    """Gray (2^stored bits,) float32 of every stored value, its bit depth, the decisions for the
    record, notes, and whether the gray differs from the stored value."""

    table: np.ndarray
    bits: int
    decisions: dict[str, Any]
    notes: tuple[Note, ...]
    transformed: bool


def compute_gray_lut(header: Dataset, attributes: dict[str, Any], bits: int) -> GrayLUT:
    """Return the gray values of the stored values from 0 to 2^bits - 1.

    - Modality rescale or look-up table: applied, then rescaled linearly to 0 to 2^bits - 1. Slope 1
      and intercept 0 change nothing, and a negative slope inverts the polarity. If its unit is
      optical density (thousandths of OD), gray is 4095 - value instead.
    - For Processing, LIN: the inverse logarithm of exposure (Burgess 2004). Sign 1 means that the
      value rises with exposure, -1 that it falls; without a sign MONOCHROME1 means 1.
    - For Processing, LOG: no logarithm; polarity by the sign, else as below.
    - Any other: MONOCHROME1 or PresentationLUTShape INVERSE inverts, once: the standard requires
      the two together, but some devices write only one of them.

    `attributes` is the record of `read_attributes`. Raises InputError if PresentationIntentType and
    SOP class contradict each other and the gray depends on them.
    """
    gray = _compute_gray_lut(header, attributes, bits, attributes["intent"])
    class_intent = attributes["intent_of_class"]
    if not class_intent or class_intent == attributes["intent"]:
        return gray
    class_gray = _compute_gray_lut(header, attributes, bits, class_intent)
    detail = f"{attributes['intent']}; the SOP class is {class_intent}"
    if class_gray.bits != gray.bits or not np.array_equal(class_gray.table, gray.table):
        raise InputError(
            f"PresentationIntentType is {detail}: the logarithm or the polarity of the gray depends"
            " on it; correct the header, or export the image again"
        )
    return gray._replace(notes=(*gray.notes, Note(INTENTS_DIFFER, detail)))


def _compute_gray_lut(
    header: Dataset, attributes: dict[str, Any], bits: int, intent: str
) -> GrayLUT:
    max_value = (1 << bits) - 1
    values, unit, transform, notes = _apply_modality_lut(header, max_value)
    decisions = {"modality_transform": transform}
    if unit == "OD":
        decisions |= {"polarity": "falls with optical density", "polarity_source": "RescaleType"}
        decisions["gray_value"] = "4095 - OD / 0.001"
        if attributes["sop_class"].startswith("mammography"):
            notes += (Note(OD_OF_DETECTOR),)
        return GrayLUT(gray_mapping.from_od(values / 1000.0), 12, decisions, notes, True)
    values = (values - values.min()) * (max_value / np.ptp(values))
    for_processing = intent == "FOR PROCESSING"
    sign, header_inverts = attributes["intensity_sign"], attributes["photometric"] == "MONOCHROME1"
    header_inverts = header_inverts or attributes["presentation_lut_shape"] == "INVERSE"
    signed = for_processing and sign in ("1", "-1") and attributes["intensity"] in ("LIN", "LOG")
    # Dense tissue attenuates more: a value that rises with exposure falls with density.
    inverted = sign == "1" if signed else header_inverts
    if signed and inverted != header_inverts:
        notes += (Note(SIGN_DIFFERS, f"{sign}; {attributes['photometric']}"),)
    decisions["polarity"] = "inverted" if inverted else "as stored"
    decisions["polarity_source"] = FROM_SIGN if signed else FROM_PHOTOMETRIC
    if for_processing and attributes["intensity"] == "LIN":
        decisions["gray_value"] = (
            f"4095 - 4095 ln(max(E, 1)) / ln({max_value}), E exposure (Burgess 2004)"
        )
        table = gray_mapping.raw_dm(values if inverted else max_value - values, bits)
        return GrayLUT(table, 12, decisions, notes, True)
    decisions["gray_value"] = "stored scale, linear"
    table = (max_value - values if inverted else values).astype(np.float32)
    transformed = bool(np.abs(table - np.arange(max_value + 1)).max() > 0.5)
    return GrayLUT(
        table, bits, decisions, notes + _header_notes(attributes, for_processing), transformed
    )


def check_od(table: np.ndarray, values: np.ndarray) -> tuple[Note, ...]:
    """Return a note if the optical densities of an image are implausible for a film."""
    od = (gray_mapping.MAX_GRAY - table[values[::8, ::8]]) * gray_mapping.OD_PER_LEVEL
    dark, clear = float(np.mean(od >= MAX_OD)), float(np.mean(od <= MIN_OD))
    if dark <= 0.05 and clear <= 0.2 and np.quantile(od, 0.99) >= EXPOSED_OD:
        return ()
    detail = f"{od.min():.2f} to {od.max():.2f}, {100 * dark:.0f}% at the dark end of the scale"
    return (Note(IMPLAUSIBLE_OD, detail),)


def _apply_modality_lut(
    header: Dataset, max_value: int
) -> tuple[np.ndarray, str, str, tuple[Note, ...]]:
    """Return the modality values (2^bits,) float64, their unit ('OD' or ''), the name of the
    transformation for the record, and notes."""
    levels = np.arange(max_value + 1, dtype=np.float64)
    notes: tuple[Note, ...] = ()
    lut_item = get_first_item(header, "ModalityLUTSequence")
    if len(lut_item):
        unit, transform = get_code(lut_item, "ModalityLUTType", ("OD",)), "look-up table"
    elif get_value(header, "RescaleSlope") is not None:
        unit, transform = get_code(header, "RescaleType", ("OD",)), "rescale"
    else:
        return levels, "", "none", notes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if len(lut_item):
                big_endian = header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
                values, notes = apply_lut(lut_item, levels, big_endian)
            else:
                intercept = get_value(header, "RescaleIntercept") or 0.0
                values = levels * float(header.RescaleSlope) + float(intercept)
    except InputError:
        raise
    # pydicom raises exceptions of many types on a damaged table.
    except Exception as error:
        raise InputError(
            f"its modality {transform} cannot be applied ({type(error).__name__}); export it again"
        ) from error
    if not np.isfinite(values).all() or not np.ptp(values) > 0:
        raise InputError(
            f"its modality {transform} makes all values equal or not finite; export it again"
        )
    if transform == "rescale":
        slope = (values[-1] - values[0]) / max_value
        if slope == 1.0 and values[0] == 0.0:
            transform = "rescale slope 1, intercept 0"
        else:
            transform = f"rescale slope {slope:g}, intercept {values[0]:g}"
        if slope < 0 and unit != "OD":
            notes = (Note(SLOPE_NEGATIVE, f"{slope:g}"),)
    return values, unit if unit == "OD" else "", transform, notes


def _header_notes(attributes: dict[str, Any], for_processing: bool) -> tuple[Note, ...]:
    photometric, shape = attributes["photometric"], attributes["presentation_lut_shape"]
    notes = []
    if for_processing and attributes["intensity"] not in ("LIN", "LOG"):
        notes.append(Note(RELATIONSHIP_UNKNOWN))
    if (photometric, shape) in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        notes.append(Note(POLARITIES_DIFFER, f"{photometric}, {shape}"))
    return tuple(notes)
