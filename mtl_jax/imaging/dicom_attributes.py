"""Read and check the attributes of a DICOM header as numbers and terms of fixed lists."""

from collections.abc import Callable, MutableSequence
from typing import Any

from pydicom import Sequence
from pydicom.dataset import Dataset

from mtl_jax.imaging import dicom_header, dicom_spacing, dicom_view
from mtl_jax.imaging.dicom_fields import get_code, get_int, get_value
from mtl_jax.imaging.dicom_frame import ALWAYS_LOSSY, ENCAPSULATED, NATIVE
from mtl_jax.imaging.image_formats import select_frame
from mtl_jax.imaging.stored_image import MAX_PIXELS, HeaderAttributes
from mtl_jax.types import InputError, Note

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
TOMOSYNTHESIS = {"TOMOSYNTHESIS", "TOMO"}
SYNTHETIC = {"GENERATED_2D", "TOMO_2D", "TOMO_PROJ"}

DAMAGED_ATTRIBUTE = "an attribute of the header is damaged: ignored"
NO_SPACING = "the header's spacing cannot be used"
NO_FRAMES = "NumberOfFrames is 0 or empty: 1 is used"
SLICE = "a slice of a tomosynthesis stack"
PROJECTION = "a projection of a tomosynthesis acquisition"
SYNTHETIC_2D = "a synthetic two-dimensional image of a tomosynthesis stack"
MAGNIFIED = "magnification view: its spacing is not that of a contact view"
LOSSY = "lossy compression"


def read_attributes(header: Dataset, frame: int | None) -> dict[str, Any]:
    """Return the attributes of the header, checked before any pixel is decoded.

    They are numbers, terms of fixed lists, and `notes`, a list of Note. `frame` None reads the
    first frame; the caller decides whether it may be None.
    """
    notes: list[Note] = []
    pixels = read_pixel_attributes(header, frame or 0, notes)
    geometry = _read_geometry(header, pixels["frame"], notes)
    lossy = _is_lossy(header)
    notes += _tomosynthesis_notes(header)
    notes += [Note(LOSSY)] * lossy + [Note(MAGNIFIED)] * geometry["magnified"]
    return {
        "sop_class": _sop_class(header),
        "modality": get_code(header, "Modality", MODALITIES),
        "transfer_syntax": _syntax(header),
        **pixels,
        "lossy": lossy,
        "presentation_lut_shape": get_code(header, "PresentationLUTShape", ("IDENTITY", "INVERSE")),
        "intent": _intent(header),
        "intent_of_class": _intent_of_class(header),
        "intensity": get_code(header, "PixelIntensityRelationship", RELATIONSHIPS),
        "intensity_sign": get_code(header, "PixelIntensityRelationshipSign", ("1", "-1")),
        "voi_offered": _read_optional(lambda: _list_voi(header), [], notes),
        "voi_applied": False,
        **geometry,
        "notes": notes,
    }


def read_pixel_attributes(header: Dataset, frame: int, notes: list[Note]) -> dict[str, Any]:
    """Return shape, frames, bits and photometric interpretation; append to `notes`."""
    photometric = get_code(header, "PhotometricInterpretation", PHOTOMETRIC)
    if not photometric:
        raise InputError("PhotometricInterpretation is missing: the file contains no image")
    if photometric not in PHOTOMETRIC or get_int(header, "SamplesPerPixel", default=1) != 1:
        raise InputError("a colour image: a mammogram must be MONOCHROME1 or MONOCHROME2")
    if get_int(header, "PixelRepresentation", default=0) != 0:
        raise InputError("PixelRepresentation 1 (signed pixels) is not supported: export unsigned")
    rows, columns = get_int(header, "Rows"), get_int(header, "Columns")
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise InputError(f"its header states {columns}x{rows} pixels; the limit is {MAX_PIXELS}")
    frames = _number_of_frames(header, notes)
    allocated, bits = get_int(header, "BitsAllocated"), get_int(header, "BitsStored")
    high = get_int(header, "HighBit", default=bits - 1)
    if allocated not in (8, 16) or not (1 < bits <= allocated and 0 < high < allocated):
        raise InputError(
            f"BitsAllocated {allocated}, BitsStored {bits}, HighBit {high}: expected pixels of"
            " 2 to 16 bits in bytes or 16-bit words"
        )
    return {
        "rows": rows,
        "columns": columns,
        "frames": frames,
        "frame": select_frame(frame, frames),
        "bits_allocated": allocated,
        "bits_stored": bits,
        "high_bit": high,
        "photometric": photometric,
    }


def _read_geometry(header: Dataset, frame: int, notes: list[Note]) -> dict[str, Any]:
    """Return spacing, magnification, laterality and view; append to `notes`."""
    notes += dicom_spacing.magnification_notes(header)
    magnified = dicom_spacing.is_magnified(header)
    spacing, spacing_error = None, ""
    try:
        spacing = dicom_spacing.get_spacing(header, frame)
        if spacing and not magnified:
            notes += dicom_spacing.spacing_notes(header, frame)
    except InputError as error:
        spacing_error = str(error)
        notes.append(Note(NO_SPACING, spacing_error))
    absent = ("", "")
    laterality = _read_optional(lambda: dicom_header.get_laterality(header, frame), absent, notes)
    view = _read_optional(lambda: dicom_header.get_view(header), absent, notes)
    notes += _read_optional(lambda: dicom_header.laterality_notes(header, frame), (), notes)
    notes += _read_optional(lambda: dicom_header.view_notes(header), (), notes)
    return {
        "spacing_um": list(spacing[0]) if spacing else None,
        "spacing_source": spacing[1] if spacing else "",
        "spacing_error": spacing_error,  # why the spacing of the header cannot be used
        "magnification": dicom_spacing.get_magnification(header),
        "magnified": magnified,
        "laterality": laterality[0],
        "laterality_source": laterality[1],
        "view": view[0],
        "view_source": view[1],
        "view_modifiers": list(dicom_view.get_view_modifiers(header)),
    }


def header_attributes(header: Dataset, record: dict[str, Any]) -> HeaderAttributes:
    """Return the attributes that a table may state too; `record` is from `read_attributes`."""
    return HeaderAttributes(
        record["laterality"],
        record["laterality_source"],
        record["view"],
        record["view_source"],
        _read_modality(header, record),
        dicom_spacing.plausible_spacings(header, record["frame"]),
    )


def _read_modality(header: Dataset, record: dict[str, Any]) -> str:
    """Return SFM (screen-film) or DM (digital) mammography; '' if the header does not tell."""
    scanned = get_value(header, "NominalScannedPixelSpacing") is not None
    if scanned or get_code(header, "ConversionType", ("DF", "SI")) in ("DF", "SI"):
        return "SFM"
    digital = record["sop_class"].startswith("mammography") and record["modality"] == "MG"
    return "DM" if digital else ""


def _number_of_frames(header: Dataset, notes: list[Note]) -> int:
    """Return NumberOfFrames; 1 if it is absent, and, with a note, if it is empty or 0."""
    frames = get_int(header, "NumberOfFrames", default=0)
    if frames:
        return frames
    if "NumberOfFrames" in header:
        notes.append(Note(NO_FRAMES))
    return 1


def _tomosynthesis_notes(header: Dataset) -> list[Note]:
    """Return a note if SOP class or ImageType name a tomosynthesis image or one derived from it."""
    sop_class = _sop_class(header)
    image_type = get_value(header, "ImageType")
    values = [image_type] if isinstance(image_type, str) else image_type or ()
    terms = {str(term).strip().upper() for term in values}
    if terms & SYNTHETIC:
        return [Note(SYNTHETIC_2D)]
    if sop_class.startswith("breast projection"):
        return [Note(PROJECTION)]
    is_slice = sop_class == "breast tomosynthesis" or terms & TOMOSYNTHESIS
    return [Note(SLICE)] if is_slice else []


def _is_lossy(header: Dataset) -> bool:
    lossy = get_code(header, "LossyImageCompression", ("00", "01")) == "01"
    return lossy or getattr(header.file_meta, "TransferSyntaxUID", None) in ALWAYS_LOSSY


def _read_optional(read: Callable[[], Any], default: Any, notes: list[Note]) -> Any:
    """Return what `read` returns; `default` and a note if it is damaged: no pixel depends on it."""
    try:
        return read()
    except InputError as error:
        notes.append(Note(DAMAGED_ATTRIBUTE, str(error)))
        return default


def _syntax(header: Dataset) -> str:
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    if not syntax:
        return "not stated"
    return syntax.name if syntax in (*NATIVE, *ENCAPSULATED) else "other"


def _intent(header: Dataset) -> str:
    intent = get_code(header, "PresentationIntentType", INTENTS)
    return intent if intent in INTENTS else _intent_of_class(header)


def _intent_of_class(header: Dataset) -> str:
    """Return the presentation intent that the SOP class implies; '' if it implies none."""
    implied = _sop_class(header).partition(", ")[2].upper()
    return implied if implied in INTENTS else ""


def _sop_class(header: Dataset) -> str:
    return SOP_CLASSES.get(str(get_value(header, "SOPClassUID") or ""), "other")


def _list_voi(header: Dataset) -> list[str]:
    """Return the VOI look-up tables and windows of the header, the tables first."""
    tables = get_value(header, "VOILUTSequence")
    offered = ["look-up table"] * (len(tables) if isinstance(tables, Sequence) else 0)
    function = get_code(header, "VOILUTFunction", FUNCTIONS) or "LINEAR"
    centres, widths = _numbers(header, "WindowCenter"), _numbers(header, "WindowWidth")
    for centre, width in zip(centres, widths, strict=False):
        offered.append(f"{function} window, centre {centre:g}, width {width:g}")
    return offered


def _numbers(header: Dataset, keyword: str) -> list[float]:
    try:
        values = get_value(header, keyword)
        values = values if isinstance(values, MutableSequence) else [values]
        return [float(number) for number in values]
    except (InputError, TypeError, ValueError):
        return []
