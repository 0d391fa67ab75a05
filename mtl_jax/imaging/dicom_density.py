"""What each stored value of a DICOM image is worth in density. Touches no pixel.

An image stores at most 2^16 different values, so modality transformation, logarithm and polarity
are worked out once a value, in float64, and then looked up once a pixel.
"""

import warnings
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from mtl_jax.imaging import density
from mtl_jax.imaging.dicom_header import first_item, value, whole, word
from mtl_jax.nouns import InputError

FROM_SIGN = "PixelIntensityRelationshipSign"
FROM_PHOTOMETRIC = "PhotometricInterpretation"


def table(header: Dataset, facts: dict[str, Any]) -> tuple[np.ndarray, int, dict[str, Any]]:
    """Density (2^BitsStored,) float32 of every stored value, its bit depth, and what was decided.

    - Modality rescale or look-up table: applied, then brought back linearly onto 0 to 2^bits - 1,
      so that 1 and 0 change nothing and a negative slope turns the polarity. Where its unit is
      optical density (thousandths of OD), gray is 4095 - value instead.
    - For Processing, LIN: the inverse logarithm of exposure (Burgess 2004). Sign 1 says that the
      value rises with exposure, -1 that it falls; without a sign MONOCHROME1 means 1.
    - For Processing, LOG: no logarithm; polarity by the sign, else as below.
    - Any other: MONOCHROME1 or PresentationLUTShape INVERSE inverts, once: the standard asks for
      the two together, and some devices write only one of them.
    """
    bits = facts["bits_stored"]
    top = (1 << bits) - 1
    values, unit, transform = _modality(header, top)
    decided = {"modality_transform": transform, "notes": list(facts["notes"])}
    if unit == "OD":
        decided |= {"polarity": "falls with optical density", "polarity_source": "RescaleType"}
        decided["density"] = "4095 - OD / 0.001"
        return density.from_od(values / 1000.0), 12, decided
    values = (values - values.min()) * (top / np.ptp(values))
    raw = facts["intent"] == "FOR PROCESSING"
    sign, inverts = facts["intensity_sign"], facts["photometric"] == "MONOCHROME1"
    inverts = inverts or facts["presentation_lut_shape"] == "INVERSE"
    signed = raw and sign in ("1", "-1") and facts["intensity"] in ("LIN", "LOG")
    # Dense tissue passes little: where the value rises with exposure, density falls.
    falls = sign == "1" if signed else inverts
    decided["polarity"] = "inverted" if falls else "as stored"
    decided["polarity_source"] = FROM_SIGN if signed else FROM_PHOTOMETRIC
    if raw and facts["intensity"] == "LIN":
        decided["density"] = f"4095 - 4095 ln(max(E, 1)) / ln({top}), E exposure (Burgess 2004)"
        return density.raw_dm(values if falls else top - values, bits), 12, decided
    decided["density"] = "stored scale, linear"
    _note(decided["notes"], facts, raw)
    return (top - values if falls else values).astype(np.float32), bits, decided


def padding(header: Dataset, levels: int) -> slice:
    """The stored values that are no image, by PixelPaddingValue and PixelPaddingRangeLimit.

    Empty where there are none, or where they lie outside the stored values.
    """
    if value(header, "PixelPaddingValue") is None:
        return slice(0, 0)
    first = whole(header, "PixelPaddingValue")
    last = whole(header, "PixelPaddingRangeLimit", absent=first)
    low, high = max(min(first, last), 0), min(max(first, last), levels - 1)
    return slice(low, high + 1) if low <= high else slice(0, 0)


def _modality(header: Dataset, top: int) -> tuple[np.ndarray, str, str]:
    """The value, float64, that each stored value stands for; its unit ('OD' or ''); in words."""
    levels = np.arange(top + 1, dtype=np.float64)
    item = first_item(header, "ModalityLUTSequence")
    if len(item):
        unit, transform = word(item, "ModalityLUTType", ("OD",)), "look-up table"
    elif value(header, "RescaleSlope") is not None:
        unit, transform = word(header, "RescaleType", ("OD",)), "rescale"
    else:
        return levels, "", "none"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if len(item):
                values = _look_up(item, levels, header)
            else:
                intercept = value(header, "RescaleIntercept") or 0.0
                values = levels * float(header.RescaleSlope) + float(intercept)
    except InputError:
        raise
    # pydicom raises many types on a damaged table; whichever it is, the file is at fault.
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
    return values, unit if unit == "OD" else "", transform


def _look_up(item: Dataset, levels: np.ndarray, header: Dataset) -> np.ndarray:
    """Entries for the levels, those beyond the table's ends taking its ends (PS3.3 C.11.1.1)."""
    entries, first, _ = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):
        big = header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
        data = np.frombuffer(data, ">u2" if big else "<u2")
    places = np.clip(levels.astype(int) - first, 0, (entries or 65536) - 1)
    return np.asarray(data, np.float64)[places]


def _note(notes: list[str], facts: dict[str, Any], raw: bool) -> None:
    if raw and facts["intensity"] not in ("LIN", "LOG"):
        notes.append(
            "For Processing without LIN or LOG: taken as logarithmic already; if it is linear in"
            " exposure, its contrast is wrong"
        )
    if facts["photometric"] == "MONOCHROME1" and facts["presentation_lut_shape"] == "IDENTITY":
        notes.append("MONOCHROME1 with PresentationLUTShape IDENTITY disagree: inverted once")
    if facts["photometric"] == "MONOCHROME2" and facts["presentation_lut_shape"] == "INVERSE":
        notes.append("MONOCHROME2 with PresentationLUTShape INVERSE disagree: inverted once")
