"""All that a DICOM header says of an image, checked and in plain words. Reads no pixel."""

from collections.abc import Callable, MutableSequence
from typing import Any

from pydicom import Sequence
from pydicom.dataset import Dataset

from mtl_jax.imaging import dicom_header
from mtl_jax.imaging.dicom_frame import ENCODED, PLAIN
from mtl_jax.imaging.dicom_header import value, whole, word
from mtl_jax.nouns import InputError

SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "computed radiography",
    "1.2.840.10008.5.1.4.1.1.1.1": "digital x-ray, for presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "digital x-ray, for processing",
    "1.2.840.10008.5.1.4.1.1.1.2": "mammography, for presentation",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "mammography, for processing",
    "1.2.840.10008.5.1.4.1.1.7": "secondary capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "secondary capture, multi-frame byte",
    "1.2.840.10008.5.1.4.1.1.7.3": "secondary capture, multi-frame word",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "breast tomosynthesis",
    "1.2.840.10008.5.1.4.1.1.13.1.4": "breast projection, for presentation",
    "1.2.840.10008.5.1.4.1.1.13.1.5": "breast projection, for processing",
}
MODALITIES = ("MG", "CR", "DX", "RG", "OT", "SC")
INTENTS = ("FOR PROCESSING", "FOR PRESENTATION")
RELATIONSHIPS = ("LIN", "LOG", "DISP")
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def facts(header: Dataset, frame: int, max_pixels: int) -> dict[str, Any]:
    """All that the header says, checked before any pixel is decoded or memory taken."""
    photometric = word(header, "PhotometricInterpretation", PHOTOMETRIC)
    if not photometric:
        raise InputError("it holds no image (PhotometricInterpretation is missing)")
    if photometric not in PHOTOMETRIC or whole(header, "SamplesPerPixel", absent=1) != 1:
        raise InputError("in colour; a mammogram must be MONOCHROME1 or MONOCHROME2")
    if whole(header, "PixelRepresentation", absent=0) != 0:
        raise InputError("signed pixels (PixelRepresentation 1) are not stored gray")
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    if rows < 1 or columns < 1 or rows * columns > max_pixels:
        raise InputError(f"its header says {columns}x{rows} pixels; the most is {max_pixels}")
    frames = whole(header, "NumberOfFrames", absent=1)
    if not 0 <= frame < frames:
        raise InputError(f"has {frames} frame(s), so frame {frame} (counted from 0) is not there")
    allocated, bits = whole(header, "BitsAllocated"), whole(header, "BitsStored")
    high = whole(header, "HighBit", absent=bits - 1)
    if allocated not in (8, 16) or not 1 < bits <= high + 1 <= allocated:
        raise InputError(
            f"BitsAllocated {allocated}, BitsStored {bits}, HighBit {high}: not pixels of 2 to 16"
            " bits in bytes or 16-bit words"
        )
    notes: list[str] = []
    spacing = _tried(dicom_header.spacing_of, header, None, notes)
    side = _tried(dicom_header.laterality, header, ("", ""), notes)
    view = _tried(dicom_header.view, header, ("", ""), notes)
    return {
        "sop_class": SOP_CLASSES.get(str(value(header, "SOPClassUID") or ""), "other"),
        "modality": word(header, "Modality", MODALITIES),
        "transfer_syntax": _syntax(header),
        "rows": rows,
        "columns": columns,
        "frames": frames,
        "frame": frame,
        "bits_allocated": allocated,
        "bits_stored": bits,
        "high_bit": high,
        "lossy": word(header, "LossyImageCompression", ("00", "01")) == "01",
        "photometric": photometric,
        "presentation_lut_shape": word(header, "PresentationLUTShape", ("IDENTITY", "INVERSE")),
        "intent": _intent(header),
        "intensity": word(header, "PixelIntensityRelationship", RELATIONSHIPS),
        "intensity_sign": word(header, "PixelIntensityRelationshipSign", ("1", "-1")),
        "voi_offered": _tried(_voi, header, [], notes),
        "voi_applied": False,
        "spacing_um": list(spacing[0]) if spacing else None,
        "spacing_source": spacing[1] if spacing else "",
        "magnification": _tried(dicom_header.magnification, header, None, notes),
        "magnified": _tried(dicom_header.is_magnified, header, False, notes),
        "laterality": side[0],
        "laterality_source": side[1],
        "view": view[0],
        "view_source": view[1],
        "view_modifiers": list(_tried(dicom_header.view_modifiers, header, (), notes)),
        "notes": notes,
    }


def _tried(ask: Callable[[Dataset], Any], header: Dataset, absent: Any, notes: list[str]) -> Any:
    """What no pixel depends on: where it is damaged the image is read all the same, with a note."""
    try:
        return ask(header)
    except InputError as error:
        notes.append(str(error))
        return absent


def _syntax(header: Dataset) -> str:
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    return syntax.name if syntax in (*PLAIN, *ENCODED) else "other"


def _intent(header: Dataset) -> str:
    stated = word(header, "PresentationIntentType", INTENTS)
    if stated in INTENTS:
        return stated
    _, _, implied = SOP_CLASSES.get(str(value(header, "SOPClassUID") or ""), "").partition(", ")
    return implied.upper() if implied.upper() in INTENTS else ""


def _voi(header: Dataset) -> list[str]:
    """The look-up tables and windows that a viewer could choose from, the tables first."""
    tables = value(header, "VOILUTSequence")
    offered = ["look-up table"] * (len(tables) if isinstance(tables, Sequence) else 0)
    function = word(header, "VOILUTFunction", FUNCTIONS) or "LINEAR"
    centres, widths = _numbers(header, "WindowCenter"), _numbers(header, "WindowWidth")
    for centre, width in zip(centres, widths, strict=False):
        offered.append(f"{function} window, centre {centre:g}, width {width:g}")
    return offered


def _numbers(header: Dataset, keyword: str) -> list[float]:
    try:
        found = value(header, keyword)
        return [float(one) for one in (found if isinstance(found, MutableSequence) else [found])]
    except (InputError, TypeError, ValueError):
        return []
