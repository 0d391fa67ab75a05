"""Read the view and its modifiers from a DICOM header."""

import contextlib
import re
from typing import NamedTuple

import pydicom
from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_first_item, get_value
from mtl_jax.types import InputError

# DICOM PS3.16 CID 4014 and 4015: codes of SNOMED CT, SRT or SNM3, and two older ones.
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
# Abbreviations of modifiers by the American College of Radiology, before and after the view.
PREFIXES = {"M": "magnification", "MAG": "magnification", "S": "spot compression"}
PREFIXES |= {"SPOT": "spot compression"}
SUFFIXES = {
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
ABBREVIATION = re.compile(
    rf"(?P<side>LEFT|RIGHT|L|R)?[ _-]*(?P<prefix>{'|'.join(PREFIXES)})?[ _-]*"
    rf"(?P<view>{'|'.join(VIEW_CODES)})[ _-]*(?P<suffix>{'|'.join(SUFFIXES)})?"
)


class ViewPosition(NamedTuple):
    """View, side ('L' or 'R') and modifiers of ViewPosition, '' and () if it does not state them;
    and whether its value is unknown."""

    view: str = ""
    side: str = ""
    modifiers: tuple[str, ...] = ()
    unknown: bool = False


def parse_view_position(header: Dataset) -> ViewPosition:
    """Return the parts of ViewPosition: a view (`MLO`), with side or modifier (`RMLO`, `MCC`)."""
    value = get_value(header, "ViewPosition")
    text = "" if value is None else str(value).strip().upper()
    if not text or text in VIEW_CODES:
        return ViewPosition(text)
    parts = ABBREVIATION.fullmatch(text)
    if parts is None:
        return ViewPosition(unknown=True)
    modifiers = (PREFIXES.get(parts["prefix"], ""), SUFFIXES.get(parts["suffix"], ""))
    return ViewPosition(parts["view"], SIDES.get(parts["side"], ""), tuple(filter(None, modifiers)))


def get_coded_view(header: Dataset) -> str:
    """Return the view of ViewCodeSequence; '' if it states none."""
    return _coded(get_first_item(header, "ViewCodeSequence"), VIEW_CODES)


def get_view_modifiers(header: Dataset) -> tuple[str, ...]:
    """Return the modifiers of the view, names of MODIFIER_CODES.

    The standard nests ViewModifierCodeSequence in ViewCodeSequence; some devices write it next to
    ViewCodeSequence, or abbreviate the modifier in ViewPosition.
    """
    modifiers = [name for item in _items(header, "ViewCodeSequence") for name in _modifiers(item)]
    modifiers += _modifiers(header)
    with contextlib.suppress(InputError):  # `get_view` reports a damaged ViewPosition
        modifiers += parse_view_position(header).modifiers
    return tuple(dict.fromkeys(modifiers))


def _modifiers(dataset: Dataset) -> list[str]:
    items = _items(dataset, "ViewModifierCodeSequence")
    return [name for item in items if (name := _coded(item, MODIFIER_CODES))]


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    sequence = get_value(dataset, keyword)
    return list(sequence) if isinstance(sequence, pydicom.Sequence) else []


def _coded(item: Dataset, codes: dict[str, tuple[str, ...]]) -> str:
    """Return the name in `codes` of the CodeValue of an item; '' if there is none."""
    code = str(get_value(item, "CodeValue") or "").strip()
    return next((name for name, values in codes.items() if code in values), "")
