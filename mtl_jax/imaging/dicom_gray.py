"""What each stored value of a DICOM image is worth in density. Touches no pixel.

An image stores at most 2^16 different values, so modality transformation, logarithm and polarity
are worked out once a value, in float64, and then looked up once a pixel.
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

NOT_LINEAR = (
    "For Processing without LIN or LOG: taken as logarithmic already; if it is linear in exposure,"
    " its contrast is wrong"
)
SHAPES_DIFFER = "PhotometricInterpretation and PresentationLUTShape disagree: inverted once"
INTENTS_DIFFER = "PresentationIntentType and SOP class disagree, which changes nothing here"
SIGN_DIFFERS = (
    "PixelIntensityRelationshipSign and PhotometricInterpretation disagree: the sign is taken"
)
OD_OF_DETECTOR = "RescaleType is optical density, the SOP class is that of a digital detector"
ODD_OD = "the optical densities are those of no film"
# The end of the scale; the base of a film; what the background of any film exceeds.
MAX_OD, MIN_OD, EXPOSED_OD = 4.095, 0.05, 1.0
TURNED = "the modality rescale falls: it turns the polarity"


class GrayLUT(NamedTuple):
    """Density (2^stored bits,) float32 of every stored value, its bit depth, what was decided on
    the way, notes, and whether density is another than the stored value."""

    table: np.ndarray
    bits: int
    decided: dict[str, Any]
    notes: tuple[Note, ...]
    transformed: bool


def compute_gray_lut(header: Dataset, facts: dict[str, Any], bits: int) -> GrayLUT:
    """Return what the stored values from 0 to 2^bits - 1 are worth.

    - Modality rescale or look-up table: applied, then brought back linearly onto 0 to 2^bits - 1,
      so that 1 and 0 change nothing and a negative slope turns the polarity. Where its unit is
      optical density (thousandths of OD), gray is 4095 - value instead.
    - For Processing, LIN: the inverse logarithm of exposure (Burgess 2004). Sign 1 says that the
      value rises with exposure, -1 that it falls; without a sign MONOCHROME1 means 1.
    - For Processing, LOG: no logarithm; polarity by the sign, else as below.
    - Any other: MONOCHROME1 or PresentationLUTShape INVERSE inverts, once: the standard asks for
      the two together, and some devices write only one of them.

    InputError: PresentationIntentType and SOP class contradict each other, and the gray depends on
    which is right.
    """
    found = _density(header, facts, bits, facts["intent"])
    of_class = facts["intent_of_class"]
    if not of_class or of_class == facts["intent"]:
        return found
    other = _density(header, facts, bits, of_class)
    detail = f"{facts['intent']}; the SOP class is {of_class}"
    if other.bits != found.bits or not np.array_equal(other.table, found.table):
        raise InputError(
            f"PresentationIntentType is {detail}: they decide whether the logarithm of exposure is"
            " taken, or the polarity; correct the header, or export the image again"
        )
    return found._replace(notes=(*found.notes, Note(INTENTS_DIFFER, detail)))


def _density(header: Dataset, facts: dict[str, Any], bits: int, intent: str) -> GrayLUT:
    top = (1 << bits) - 1
    values, unit, transform, notes = _modality(header, top)
    decided = {"modality_transform": transform}
    if unit == "OD":
        decided |= {"polarity": "falls with optical density", "polarity_source": "RescaleType"}
        decided["density"] = "4095 - OD / 0.001"
        if facts["sop_class"].startswith("mammography"):
            notes += (Note(OD_OF_DETECTOR),)
        return GrayLUT(gray_mapping.from_od(values / 1000.0), 12, decided, notes, True)
    values = (values - values.min()) * (top / np.ptp(values))
    raw = intent == "FOR PROCESSING"
    sign, inverts = facts["intensity_sign"], facts["photometric"] == "MONOCHROME1"
    inverts = inverts or facts["presentation_lut_shape"] == "INVERSE"
    signed = raw and sign in ("1", "-1") and facts["intensity"] in ("LIN", "LOG")
    # Dense tissue passes little: where the value rises with exposure, density falls.
    falls = sign == "1" if signed else inverts
    if signed and falls != inverts:
        notes += (Note(SIGN_DIFFERS, f"{sign}; {facts['photometric']}"),)
    decided["polarity"] = "inverted" if falls else "as stored"
    decided["polarity_source"] = FROM_SIGN if signed else FROM_PHOTOMETRIC
    if raw and facts["intensity"] == "LIN":
        decided["density"] = f"4095 - 4095 ln(max(E, 1)) / ln({top}), E exposure (Burgess 2004)"
        table = gray_mapping.raw_dm(values if falls else top - values, bits)
        return GrayLUT(table, 12, decided, notes, True)
    decided["density"] = "stored scale, linear"
    table = (top - values if falls else values).astype(np.float32)
    transformed = bool(np.abs(table - np.arange(top + 1)).max() > 0.5)
    return GrayLUT(table, bits, decided, notes + _doubts(facts, raw), transformed)


def check_od(table: np.ndarray, values: np.ndarray) -> tuple[Note, ...]:
    """A note where an image in optical density is of densities that no film has.

    About every eighth value in each direction is looked at.
    """
    od = (gray_mapping.TOP - table[values[::8, ::8]]) * gray_mapping.OD_PER_LEVEL
    dark, clear = float(np.mean(od >= MAX_OD)), float(np.mean(od <= MIN_OD))
    if dark <= 0.05 and clear <= 0.2 and np.quantile(od, 0.99) >= EXPOSED_OD:
        return ()
    detail = f"{od.min():.2f} to {od.max():.2f}, {100 * dark:.0f}% at the dark end of the scale"
    return (Note(ODD_OD, detail),)


def _modality(header: Dataset, top: int) -> tuple[np.ndarray, str, str, tuple[Note, ...]]:
    """The value, float64, that each stored value stands for; its unit ('OD' or ''); in words; and
    notes."""
    levels = np.arange(top + 1, dtype=np.float64)
    notes: tuple[Note, ...] = ()
    item = get_first_item(header, "ModalityLUTSequence")
    if len(item):
        unit, transform = get_code(item, "ModalityLUTType", ("OD",)), "look-up table"
    elif get_value(header, "RescaleSlope") is not None:
        unit, transform = get_code(header, "RescaleType", ("OD",)), "rescale"
    else:
        return levels, "", "none", notes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if len(item):
                values, notes = apply_lut(item, levels, _is_big_endian(header))
            else:
                intercept = get_value(header, "RescaleIntercept") or 0.0
                values = levels * float(header.RescaleSlope) + float(intercept)
    except InputError:
        raise
    # pydicom raises many types on a damaged table; whichever it is, the file is invalid.
    except Exception as error:
        raise InputError(
            f"its modality {transform} cannot be applied ({type(error).__name__})"
        ) from error
    if not np.isfinite(values).all() or not np.ptp(values) > 0:
        raise InputError(f"its modality {transform} makes every value the same or not finite")
    if transform == "rescale":
        slope = (values[-1] - values[0]) / top
        if slope == 1.0 and values[0] == 0.0:
            transform = "rescale by 1 and 0"
        else:
            transform = f"rescale by {slope:g} and {values[0]:g}"
        if slope < 0 and unit != "OD":
            notes = (Note(TURNED, f"{slope:g}"),)
    return values, unit if unit == "OD" else "", transform, notes


def _is_big_endian(header: Dataset) -> bool:
    return header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian


def _doubts(facts: dict[str, Any], raw: bool) -> tuple[Note, ...]:
    photometric, shape = facts["photometric"], facts["presentation_lut_shape"]
    notes = [Note(NOT_LINEAR)] if raw and facts["intensity"] not in ("LIN", "LOG") else []
    if (photometric, shape) in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        notes.append(Note(SHAPES_DIFFER, f"{photometric}, {shape}"))
    return tuple(notes)
