"""What a DICOM header says of size, spacing, side and view. Reads no pixel.

Only numbers and words from fixed lists leave this module, in values and in messages alike: a name
or a date that stands in any field stays behind.
"""

import re
import warnings
import zlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mtl_jax.nouns import InputError

# The detector's own spacing comes first and undivided by any magnification: the paper works in the
# detector plane, and a calibrated PixelSpacing is there for some devices only.
SPACING_TAGS = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")
# Contact views are at 1.05 to 1.1, magnification views at 1.5 to 1.8.
MAGNIFIED_FROM = 1.2
MAX_INFLATED = 1 << 30  # bytes; a mammogram takes up to 160 MB
META_START = 128 + 4 + 12  # preamble, mark, and the element that tells the length of the rest

# DICOM PS3.16 CID 4014 and 4015; each code in SNOMED CT and as SRT or SNM3 (and two older ones).
VIEW_CODES = {
    "CC": ("399162004", "R-10242"),
    "MLO": ("399368009", "R-10226"),
    "ML": ("399260004", "R-10224"),
    "LM": ("399352003", "R-10228"),
    "LMO": ("399099002", "R-10230"),
    "FB": ("399196006", "R-10244"),
    "SIO": ("399188001", "R-102D0"),
    "ISO": ("441555000", "R-40AAA"),
    "XCC": ("R-102CF",),
    "XCCL": ("399192008", "R-1024A", "Y-X1770"),
    "XCCM": ("399101009", "R-1024B", "Y-X1771"),
}
MODIFIER_CODES = {
    "magnification": ("399163009", "R-102D6"),
    "spot compression": ("399055006", "R-102D7"),
    "implant displaced": ("399209000", "R-102D5"),
    "cleavage": ("399161006", "R-102D2"),
    "axillary tail": ("399011000", "R-102D1"),
    "tangential": ("399110001", "R-102C2"),
    "rolled lateral": ("399197002", "R-102D3"),
    "rolled medial": ("399226006", "R-102D4"),
    "rolled inferior": ("414493004", "R-102CA"),
    "rolled superior": ("415670009", "R-102C9"),
}
SIDES = {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R"}
IN_FILE_NAME = re.compile(
    r"(?<![A-Z])(?:(LEFT|RIGHT|L|R)[ _-]*)?(XCCL|XCCM|XCC|LMO|MLO|ML|LM|CC)(?![A-Z])"
)


def open_header(path: Path, stop_before_pixels: bool = True) -> Dataset:
    """The parsed file; InputError with the reason alone where it is not DICOM or is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_inflated(path)
            return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError("no such file") from error
    except InvalidDicomError as error:
        raise InputError("not a DICOM file: it lacks the mark DICM at byte 128") from error
    # pydicom raises many types on a damaged file; whichever it is, the file is at fault.
    except Exception as error:
        raise InputError(f"its DICOM header cannot be read ({type(error).__name__})") from error


def _check_inflated(path: Path) -> None:
    """Refuses a deflated file that would fill the memory, before it is inflated whole."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with open(path, "rb") as file:
        file.seek(META_START + int(meta.FileMetaInformationGroupLength))
        rest = file.read()
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, 1 << 20))
        rest = inflater.unconsumed_tail
        if size > MAX_INFLATED:
            raise InputError(f"it inflates to more than {MAX_INFLATED >> 20} MiB")


def value(header: Dataset, keyword: str) -> Any:
    """The value of one field; None where it is absent or empty."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = header.get(keyword)
            return None if found is None or found == "" or found == [] else found
    except Exception as error:
        raise InputError(f"its field {keyword} is damaged ({type(error).__name__})") from error


def whole(header: Dataset, keyword: str, absent: int | None = None) -> int:
    """A whole number; `absent` where there is none, or InputError if that is None."""
    found = value(header, keyword)
    if found is None and absent is not None:
        return absent
    try:
        return int(found)
    except (TypeError, ValueError, OverflowError) as error:
        what = "missing" if found is None else "not a whole number"
        raise InputError(f"its field {keyword} is {what}") from error


def word(header: Dataset, keyword: str, known: tuple[str, ...]) -> str:
    """One word of a list; '' where the field is absent, 'other' where it says anything else."""
    found = value(header, keyword)
    if found is None:
        return ""
    text = str(found).strip().upper()
    return text if text in known else "other"


def patient_id(header: Dataset) -> str:
    """The PatientID; '' where there is none or it cannot be read, as no image depends on it."""
    try:
        return str(value(header, "PatientID") or "").strip()
    except InputError:
        return ""


def spacing_of(header: Dataset) -> tuple[tuple[float, float], str] | None:
    """Pixel size (row, column) in um and the field it is from; None where none says it.

    The order is SPACING_TAGS, then the shared spacing of a multi-frame image. InputError: sizes
    that are not two positive numbers.
    """
    shared = first_item(_shared(header), "PixelMeasuresSequence")
    places = [(header, tag, tag) for tag in SPACING_TAGS]
    places.append((shared, "PixelSpacing", "PixelMeasuresSequence"))
    for dataset, tag, name in places:
        found = value(dataset, tag)
        if found is None:
            continue
        try:
            row, column = (1000.0 * float(size) for size in found)
        except (TypeError, ValueError) as error:
            raise InputError(f"its {name} is not two numbers; give pixel_um instead") from error
        if not (0 < row < float("inf") and 0 < column < float("inf")):
            raise InputError(f"{name} is {row} x {column} um; give pixel_um instead")
        return (row, column), name
    return None


def laterality(header: Dataset) -> tuple[str, str]:
    """('L' or 'R', the field it is from); ('', '') where nothing says it.

    PatientOrientation tells the side only of an image hung head up, so it comes after the fields
    that name it; the file's name comes last.
    """
    anatomy = first_item(_shared(header), "FrameAnatomySequence")
    for dataset, tag in (
        (header, "ImageLaterality"),
        (header, "Laterality"),
        (anatomy, "FrameLaterality"),
    ):
        side = SIDES.get(word(dataset, tag, tuple(SIDES)))
        if side:
            return side, tag
    rows, columns = _orientation(header)
    if rows.startswith("A") and columns.endswith("R"):
        return "L", "PatientOrientation"
    if rows.startswith("P") and columns.endswith("L"):
        return "R", "PatientOrientation"
    side = SIDES.get(_file_name(header)[0])
    return (side, "file name") if side else ("", "")


def view(header: Dataset) -> tuple[str, str]:
    """(CC, MLO, ML, LM ... of VIEW_CODES, the field it is from); ('', '') where nothing says it.

    CBIS-DDSM writes the view into PatientOrientation.
    """
    coded = _coded(first_item(header, "ViewCodeSequence"), VIEW_CODES)
    named = word(header, "ViewPosition", tuple(VIEW_CODES))
    if named not in ("", "other"):
        return named, "ViewPosition"
    if coded:
        return coded, "ViewCodeSequence"
    hung = word(header, "PatientOrientation", tuple(VIEW_CODES))
    if hung not in ("", "other"):
        return hung, "PatientOrientation"
    found = _file_name(header)[1]
    return (found, "file name") if found else ("", "")


def view_modifiers(header: Dataset) -> tuple[str, ...]:
    """Names of MODIFIER_CODES that the view carries: magnification, spot compression ..."""
    item = first_item(header, "ViewCodeSequence")
    modifiers = value(item, "ViewModifierCodeSequence") or []
    if not isinstance(modifiers, pydicom.Sequence | list):
        return ()
    return tuple(name for item in modifiers if (name := _coded(item, MODIFIER_CODES)))


def magnification(header: Dataset) -> float | None:
    """EstimatedRadiographicMagnificationFactor; None where it is absent or no positive number."""
    try:
        factor = float(value(header, "EstimatedRadiographicMagnificationFactor"))
    except (TypeError, ValueError):
        return None
    return factor if 0 < factor < float("inf") else None


def is_magnified(header: Dataset) -> bool:
    """Whether this is a magnification view, by its modifier or a factor above 1.2.

    Its pixels are finer on the breast than ImagerPixelSpacing says: a source leaves it out.
    """
    factor = magnification(header)
    stated = factor is not None and factor > MAGNIFIED_FROM
    return stated or "magnification" in view_modifiers(header)


def _coded(item: Dataset, codes: dict[str, tuple[str, ...]]) -> str:
    found = str(value(item, "CodeValue") or "").strip()
    return next((name for name, values in codes.items() if found in values), "")


def _shared(header: Dataset) -> Dataset:
    return first_item(header, "SharedFunctionalGroupsSequence")


def first_item(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence; an empty Dataset where there is none."""
    items = value(dataset, keyword)
    if isinstance(items, pydicom.Sequence) and len(items):
        return items[0]
    return Dataset()


def _orientation(header: Dataset) -> tuple[str, str]:
    found = value(header, "PatientOrientation")
    if isinstance(found, str) or found is None or len(found) != 2:
        return "", ""
    return str(found[0]), str(found[1])


def _file_name(header: Dataset) -> tuple[str, str]:
    """Side and view as in `LEFT_CC`, `R_MLO` or `LCC`; '' for what is not there."""
    name = Path(str(getattr(header, "filename", ""))).stem.upper()
    found = IN_FILE_NAME.search(name)
    return (found[1] or "", found[2]) if found else ("", "")
