"""Opens DICOM files and gives one field of a header at a time. Knows nothing of mammography.

Only numbers and words from fixed lists go on to others: a name or a date that stands in any field
stays behind, in values and in messages alike.
"""

import contextlib
import warnings
import zlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mtl_jax.types import InputError

MAX_INFLATED = 1 << 30  # bytes; a mammogram takes up to 160 MB
META_START = 128 + 4 + 12  # preamble, mark, and the element that tells the length of the rest


def read_dataset(path: Path, stop_before_pixels: bool = True) -> Dataset:
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
        raise InputError(
            "not a DICOM file, or one without its preamble: it lacks the mark DICM at byte 128;"
            " export it again"
        ) from error
    # pydicom raises many types on a damaged file; whichever it is, the file is invalid.
    except Exception as error:
        raise InputError(f"its DICOM header cannot be read ({type(error).__name__})") from error


def _check_inflated(path: Path) -> None:
    """Rejects a deflated file that would fill the memory, before it is inflated whole."""
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


def get_value(header: Dataset, keyword: str) -> Any:
    """The value of one field; None where it is absent or empty."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = header.get(keyword)
            return None if found is None or found == "" or found == [] else found
    except Exception as error:
        raise InputError(f"its field {keyword} is damaged ({type(error).__name__})") from error


def get_int(header: Dataset, keyword: str, absent: int | None = None) -> int:
    """A whole number; `absent` where there is none, or InputError if that is None."""
    found = get_value(header, keyword)
    if found is None and absent is not None:
        return absent
    try:
        return int(found)
    except (TypeError, ValueError, OverflowError) as error:
        what = "missing" if found is None else "not a whole number"
        raise InputError(f"its field {keyword} is {what}") from error


def get_code(header: Dataset, keyword: str, known: tuple[str, ...]) -> str:
    """One word of a list; '' where the field is absent, 'other' where it says anything else."""
    found = get_value(header, keyword)
    if found is None:
        return ""
    text = str(found).strip().upper()
    return text if text in known else "other"


def patient_id(header: Dataset) -> str:
    """The PatientID; '' where there is none or it cannot be read, as no image depends on it."""
    try:
        return str(get_value(header, "PatientID") or "").strip()
    except InputError:
        return ""


def get_first_item(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence; an empty Dataset where there is none."""
    items = get_value(dataset, keyword)
    if isinstance(items, pydicom.Sequence) and len(items):
        return items[0]
    return Dataset()


def get_functional_group(header: Dataset, keyword: str, frame: int = 0) -> Dataset:
    """The first item of `keyword` among what a multi-frame image says of all its frames, else of
    this one; an empty Dataset where it says nothing."""
    shared = get_first_item(get_first_item(header, "SharedFunctionalGroupsSequence"), keyword)
    if len(shared):
        return shared
    frames = get_value(header, "PerFrameFunctionalGroupsSequence")
    if isinstance(frames, pydicom.Sequence) and frame < len(frames):
        return get_first_item(frames[frame], keyword)
    return Dataset()


def get_padding_value(header: Dataset) -> int | None:
    """PixelPaddingValue; None where it is absent or no whole number."""
    try:
        return get_int(header, "PixelPaddingValue")
    except InputError:
        return None


def get_overlay_bits(header: Dataset) -> int:
    """The bits, as a number, in which the header says that overlays lie (groups 60xx)."""
    bits = 0
    with contextlib.suppress(InputError):
        for group in range(0x6000, 0x6020, 2):
            allocated, position = (_number(header, (group, element)) for element in (0x100, 0x102))
            # Overlays in data of their own have 1 bit allocated.
            if allocated not in (None, 1) and position is not None and 0 <= position < 16:
                bits |= 1 << position
    return bits


def _number(header: Dataset, tag: tuple[int, int]) -> int | None:
    try:
        element = header.get(tag)
        return None if element is None or element.value is None else int(element.value)
    except Exception as error:  # pydicom raises many types on a damaged field
        raise InputError(f"its overlays are damaged ({type(error).__name__})") from error
