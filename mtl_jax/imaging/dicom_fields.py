"""Read DICOM datasets and the values of their data elements.

Callers get numbers and terms of fixed lists only, and messages contain nothing else: a name or a
date in any element is never passed on.
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
META_START = 128 + 4 + 12  # preamble, prefix DICM and FileMetaInformationGroupLength


def read_dataset(path: Path, stop_before_pixels: bool = True) -> Dataset:
    """Return the dataset of a file. The InputError for a damaged file does not name it."""
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
            "not a DICOM file, or one without its preamble: the prefix DICM is not at byte 128;"
            " export it again"
        ) from error
    # pydicom raises exceptions of many types on a damaged file.
    except Exception as error:
        raise InputError(
            f"its DICOM header cannot be read ({type(error).__name__}); export it again"
        ) from error


def _check_inflated(path: Path) -> None:
    """Raise InputError if a deflated file inflates to more than MAX_INFLATED bytes."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with open(path, "rb") as file:
        file.seek(META_START + int(meta.FileMetaInformationGroupLength))
        deflated = file.read()
    while deflated and not inflater.eof:
        size += len(inflater.decompress(deflated, 1 << 20))
        deflated = inflater.unconsumed_tail
        if size > MAX_INFLATED:
            raise InputError(f"it inflates to more than {MAX_INFLATED >> 20} MiB; export it again")


def get_value(header: Dataset, keyword: str) -> Any:
    """Return the value of a data element; None if it is absent or empty."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = header.get(keyword)
            return None if value is None or value == "" or value == [] else value
    except Exception as error:
        raise InputError(
            f"its attribute {keyword} is damaged ({type(error).__name__}); export it again"
        ) from error


def get_int(header: Dataset, keyword: str, default: int | None = None) -> int:
    """Return an integer; `default` if there is none. Without `default` that is an InputError."""
    value = get_value(header, keyword)
    if value is None and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        reason = "missing" if value is None else "not an integer"
        raise InputError(f"its attribute {keyword} is {reason}; export it again") from error


def get_code(header: Dataset, keyword: str, terms: tuple[str, ...]) -> str:
    """Return the value if it is one of `terms`; '' if it is absent, 'other' otherwise."""
    value = get_value(header, keyword)
    if value is None:
        return ""
    text = str(value).strip().upper()
    return text if text in terms else "other"


def patient_id(header: Dataset) -> str:
    """Return the PatientID; '' if it is absent or unreadable, as no image depends on it."""
    try:
        return str(get_value(header, "PatientID") or "").strip()
    except InputError:
        return ""


def get_first_item(dataset: Dataset, keyword: str) -> Dataset:
    """Return the first item of a sequence; an empty Dataset if there is none."""
    items = get_value(dataset, keyword)
    if isinstance(items, pydicom.Sequence) and len(items):
        return items[0]
    return Dataset()


def get_functional_group(header: Dataset, keyword: str, frame: int = 0) -> Dataset:
    """Return the first item of a functional group, shared or of the frame, or an empty one."""
    shared = get_first_item(get_first_item(header, "SharedFunctionalGroupsSequence"), keyword)
    if len(shared):
        return shared
    frames = get_value(header, "PerFrameFunctionalGroupsSequence")
    if isinstance(frames, pydicom.Sequence) and frame < len(frames):
        return get_first_item(frames[frame], keyword)
    return Dataset()


def get_padding_value(header: Dataset) -> int | None:
    """Return PixelPaddingValue; None if it is absent or no integer."""
    try:
        return get_int(header, "PixelPaddingValue")
    except InputError:
        return None


def get_overlay_bits(header: Dataset) -> int:
    """Return a bit mask of the overlays that the header places in the pixel data (groups 60xx)."""
    bits = 0
    with contextlib.suppress(InputError):
        for group in range(0x6000, 0x6020, 2):
            allocated, position = (_number(header, (group, element)) for element in (0x100, 0x102))
            # Overlays in an OverlayData element have 1 bit allocated.
            if allocated not in (None, 1) and position is not None and 0 <= position < 16:
                bits |= 1 << position
    return bits


def _number(header: Dataset, tag: tuple[int, int]) -> int | None:
    try:
        element = header.get(tag)
        return None if element is None or element.value is None else int(element.value)
    except Exception as error:  # pydicom raises exceptions of many types
        raise InputError(
            f"its overlays are damaged ({type(error).__name__}); export it again"
        ) from error
