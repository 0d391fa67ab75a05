"""Read laterality and view from a DICOM header.

Values and messages contain numbers and terms of fixed lists only: a name or a date in any element
is never passed on.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import get_code, get_functional_group, get_value
from mtl_jax.imaging.dicom_view import SIDES, VIEW_CODES, get_coded_view, parse_view_position
from mtl_jax.types import Note

IN_FILE_NAME = re.compile(
    r"(?<![A-Z])(?:(LEFT|RIGHT|L|R)[ _-]*)?(XCCL|XCCM|XCC|LMO|MLO|ML|LM|CC)(?![A-Z])"
)
HEXADECIMAL = frozenset("0123456789ABCDEF")
FILE_NAME = "file name"
LATERAL = {"ML": 1, "MLO": 1, "LM": -1, "LMO": -1}  # seen from the medial or the lateral side
# Patient directions along rows and columns: axis and sign, towards left, posterior, head.
DIRECTIONS = {"P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}

LATERALITIES_DIFFER = "the lateralities of the header contradict each other"
VIEW_UNKNOWN = "ViewPosition is not a known view: ignored"
VIEWS_DIFFER = "the views of the header contradict each other"


def get_laterality(header: Dataset, frame: int = 0) -> tuple[str, str]:
    """Return ('L' or 'R', its source); ('', '') if nothing states it."""
    return next(_lateralities(header, frame), ("", ""))


def laterality_notes(header: Dataset, frame: int = 0) -> tuple[Note, ...]:
    """Return a note if the sources of the laterality contradict each other."""
    return _conflict_notes(list(_lateralities(header, frame)), LATERALITIES_DIFFER)


def get_view(header: Dataset) -> tuple[str, str]:
    """Return (CC, MLO, ML, LM ... of VIEW_CODES, its source); ('', '') if nothing states it."""
    return next(_views(header), ("", ""))


def view_notes(header: Dataset) -> tuple[Note, ...]:
    """Return notes on an unknown view and on sources of the view that contradict each other."""
    unknown = (Note(VIEW_UNKNOWN),) if parse_view_position(header).unknown else ()
    return unknown + _conflict_notes(list(_views(header)), VIEWS_DIFFER)


def _lateralities(header: Dataset, frame: int) -> Iterator[tuple[str, str]]:
    """Yield every laterality that is stated, with its source, the most reliable first."""
    anatomy = get_functional_group(header, "FrameAnatomySequence", frame)
    for dataset, keyword in (
        (header, "ImageLaterality"),
        (anatomy, "FrameLaterality"),
        (header, "Laterality"),
    ):
        if side := SIDES.get(get_code(dataset, keyword, tuple(SIDES))):
            yield side, keyword
    if side := parse_view_position(header).side:
        yield side, "ViewPosition"
    if side := _side_from_orientation(header):
        yield side, "PatientOrientation"
    if side := SIDES.get(_parse_file_name(header)[0], ""):
        yield side, FILE_NAME


def _views(header: Dataset) -> Iterator[tuple[str, str]]:
    """Yield every view that is stated, with its source, the most reliable first."""
    if view := parse_view_position(header).view:
        yield view, "ViewPosition"
    if view := get_coded_view(header):
        yield view, "ViewCodeSequence"
    view = get_code(header, "PatientOrientation", tuple(VIEW_CODES))
    if view not in ("", "other"):
        yield view, "PatientOrientation"
    if view := _parse_file_name(header)[1]:
        yield view, FILE_NAME


def _conflict_notes(statements: list[tuple[str, str]], kind: str) -> tuple[Note, ...]:
    if len({value for value, _ in statements}) < 2:
        return ()
    return (Note(kind, "; ".join(f"{source} {value}" for value, source in statements)),)


def _side_from_orientation(header: Dataset) -> str:
    """Return the laterality by PatientOrientation of a lateral or oblique view; '' for other views.

    A CC of the right breast and one of the left, rotated by 180 degrees, have the same orientation.
    """
    from_medial = LATERAL.get(next(_views(header), ("", ""))[0])
    directions = get_value(header, "PatientOrientation")
    if not from_medial or isinstance(directions, str) or directions is None or len(directions) != 2:
        return ""
    row, column = (DIRECTIONS.get(str(direction)[:1]) for direction in directions)
    if row is None or column is None or row[0] == column[0]:
        return ""
    # In patient coordinates (left, posterior, head), posterior x head = left.
    towards_left = row[1] * column[1] * (1 if row[0] == 1 else -1)
    return "L" if towards_left * from_medial > 0 else "R"


def _parse_file_name(header: Dataset) -> tuple[str, str]:
    """Return side and view of names such as `LEFT_CC`, `R_MLO` or `LCC`; '' for a missing part."""
    name = Path(str(getattr(header, "filename", ""))).stem.upper()
    for match in IN_FILE_NAME.finditer(name):
        side, view = match[1] or "", match[2]
        neighbours = {*name[: match.start()][-1:], *name[match.end() :][:1]}
        if side or len(view) > 2 or not neighbours & HEXADECIMAL:
            return side, view
    return "", ""
