"""The view of a DICOM mammogram in its codes and words, with its modifiers. Reads no pixel."""

import contextlib
import re
from typing import NamedTuple

import pydicom
from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_first_item, get_value
from mtl_jax.types import InputError

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
# The letters that the American College of Radiology has for modifiers: before the view, and after.
BEFORE = {"M": "magnification", "MAG": "magnification", "S": "spot compression"}
BEFORE |= {"SPOT": "spot compression"}
AFTER = {
    "ID": "implant displaced",
    "RL": "rolled lateral",
    "RM": "rolled medial",
    "RI": "rolled inferior",
    "RS": "rolled superior",
    "TAN": "tangential",
    "MAG": "magnification",
    "SPOT": "spot compression",
}
SIDES = {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R"}
LETTERS = re.compile(
    rf"(?P<side>LEFT|RIGHT|L|R)?[ _-]*(?P<before>{'|'.join(BEFORE)})?[ _-]*"
    rf"(?P<view>{'|'.join(VIEW_CODES)})[ _-]*(?P<after>{'|'.join(AFTER)})?"
)


class ViewPosition(NamedTuple):
    """What ViewPosition says: view, side ('L' or 'R') and modifiers, '' and () where it does not;
    and whether it says something else."""

    view: str = ""
    side: str = ""
    modifiers: tuple[str, ...] = ()
    unknown: bool = False


def parse_view_position(header: Dataset) -> ViewPosition:
    """Return what ViewPosition says, alone (`MLO`) or with other letters (`RMLO`, `MCC`, `CCID`).

    Letters that are a view by themselves are that: MLO is no magnified LO.
    """
    found = get_value(header, "ViewPosition")
    text = "" if found is None else str(found).strip().upper()
    if not text or text in VIEW_CODES:
        return ViewPosition(text)
    parts = LETTERS.fullmatch(text)
    if parts is None:
        return ViewPosition(unknown=True)
    modifiers = (BEFORE.get(parts["before"], ""), AFTER.get(parts["after"], ""))
    return ViewPosition(parts["view"], SIDES.get(parts["side"], ""), tuple(filter(None, modifiers)))


def get_coded_view(header: Dataset) -> str:
    """The view of ViewCodeSequence; '' where it says none."""
    return _coded(get_first_item(header, "ViewCodeSequence"), VIEW_CODES)


def get_view_modifiers(header: Dataset) -> tuple[str, ...]:
    """Names of MODIFIER_CODES that the view carries: magnification, spot compression ...

    The standard has their codes inside those of the view; some devices write them beside, or as
    letters of ViewPosition.
    """
    found = [name for item in _items(header, "ViewCodeSequence") for name in _modifiers(item)]
    found += _modifiers(header)
    with contextlib.suppress(InputError):  # damaged: `get_view` says so, and the image is read
        found += parse_view_position(header).modifiers
    return tuple(dict.fromkeys(found))


def _modifiers(dataset: Dataset) -> list[str]:
    items = _items(dataset, "ViewModifierCodeSequence")
    return [name for item in items if (name := _coded(item, MODIFIER_CODES))]


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    found = get_value(dataset, keyword)
    return list(found) if isinstance(found, pydicom.Sequence) else []


def _coded(item: Dataset, codes: dict[str, tuple[str, ...]]) -> str:
    """The name in `codes` that the CodeValue of an item stands for; '' where there is none."""
    found = str(get_value(item, "CodeValue") or "").strip()
    return next((name for name, values in codes.items() if found in values), "")
