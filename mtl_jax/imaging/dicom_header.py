"""What a DICOM header says of side and view, beside size and spacing. Reads no pixel.

Only numbers and words from fixed lists leave this module, in values and in messages alike: a name
or a date that stands in any field stays behind.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from mtl_jax.imaging.dicom_fields import (
    get_code,
    get_functional_group,
    get_value,
    read_dataset,
)
from mtl_jax.imaging.dicom_spacing import get_spacing, is_magnified
from mtl_jax.imaging.dicom_view import (
    SIDES,
    VIEW_CODES,
    get_coded_view,
    get_view_modifiers,
    parse_view_position,
)
from mtl_jax.types import Note

__all__ = [
    "get_laterality",
    "get_spacing",
    "get_value",
    "get_view",
    "get_view_modifiers",
    "is_magnified",
    "laterality_notes",
    "read_dataset",
    "view_notes",
]

IN_FILE_NAME = re.compile(
    r"(?<![A-Z])(?:(LEFT|RIGHT|L|R)[ _-]*)?(XCCL|XCCM|XCC|LMO|MLO|ML|LM|CC)(?![A-Z])"
)
HEXADECIMAL = frozenset("0123456789ABCDEF")
FILE_NAME = "file name"
LATERAL = {"ML": 1, "MLO": 1, "LM": -1, "LMO": -1}  # from which side the breast is looked at
# Patient directions along rows and columns, as axes and signs towards left, posterior, head.
DIRECTIONS = {"P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}

SIDES_DIFFER = "the header's statements of the side contradict each other"
VIEW_UNKNOWN = "ViewPosition is of no view that is known: not used"
VIEWS_DIFFER = "the header's statements of the view contradict each other"


def get_laterality(header: Dataset, frame: int = 0) -> tuple[str, str]:
    """('L' or 'R', the field it is from); ('', '') where nothing says it.

    ImageLaterality and FrameLaterality name the side of the image, Laterality that of the series;
    ViewPosition may have it before the view (RMLO);
    PatientOrientation tells it of an oblique or lateral view only; the file's name comes last.
    """
    return next(_sides(header, frame), ("", ""))


def laterality_notes(header: Dataset, frame: int = 0) -> tuple[Note, ...]:
    """What the places that name the side say against each other."""
    return _differing(list(_sides(header, frame)), SIDES_DIFFER)


def get_view(header: Dataset) -> tuple[str, str]:
    """(CC, MLO, ML, LM ... of VIEW_CODES, the field it is from); ('', '') where nothing says it.

    CBIS-DDSM writes the view into PatientOrientation.
    """
    return next(_views(header), ("", ""))


def view_notes(header: Dataset) -> tuple[Note, ...]:
    """What the places that name the view say against each other, and a view that is not known."""
    unknown = (Note(VIEW_UNKNOWN),) if parse_view_position(header).unknown else ()
    return unknown + _differing(list(_views(header)), VIEWS_DIFFER)


def _sides(header: Dataset, frame: int) -> Iterator[tuple[str, str]]:
    anatomy = get_functional_group(header, "FrameAnatomySequence", frame)
    for dataset, tag in (
        (header, "ImageLaterality"),
        (anatomy, "FrameLaterality"),
        (header, "Laterality"),
    ):
        side = SIDES.get(get_code(dataset, tag, tuple(SIDES)))
        if side:
            yield side, tag
    side = parse_view_position(header).side
    if side:
        yield side, "ViewPosition"
    side = _side_of_orientation(header)
    if side:
        yield side, "PatientOrientation"
    side = SIDES.get(_file_name(header)[0], "")
    if side:
        yield side, FILE_NAME


def _views(header: Dataset) -> Iterator[tuple[str, str]]:
    named = parse_view_position(header).view
    if named:
        yield named, "ViewPosition"
    named = get_coded_view(header)
    if named:
        yield named, "ViewCodeSequence"
    named = get_code(header, "PatientOrientation", tuple(VIEW_CODES))
    if named not in ("", "other"):
        yield named, "PatientOrientation"
    named = _file_name(header)[1]
    if named:
        yield named, FILE_NAME


def _differing(stated: list[tuple[str, str]], kind: str) -> tuple[Note, ...]:
    if len({what for what, _ in stated}) < 2:
        return ()
    return (Note(kind, "; ".join(f"{field} {what}" for what, field in stated)),)


def _side_of_orientation(header: Dataset) -> str:
    """The side by the directions of rows and columns of a lateral or oblique view, which is looked
    at from the middle (ML, MLO) or from outside (LM, LMO); '' of any other view: a CC of the right
    breast and one of the left, turned by 180 degrees, have the same directions."""
    from_middle = LATERAL.get(next(_views(header), ("", ""))[0])
    stated = get_value(header, "PatientOrientation")
    if not from_middle or isinstance(stated, str) or stated is None or len(stated) != 2:
        return ""
    row, column = (DIRECTIONS.get(str(words)[:1]) for words in stated)
    if row is None or column is None or row[0] == column[0]:
        return ""
    # Posterior x head = left, as axes of the patient go: left, posterior, head.
    towards_left = row[1] * column[1] * (1 if row[0] == 1 else -1)
    return "L" if towards_left * from_middle > 0 else "R"


def _file_name(header: Dataset) -> tuple[str, str]:
    """Side and view as in `LEFT_CC`, `R_MLO` or `LCC`; '' for what is not there.

    Two letters alone beside a hexadecimal digit are part of a generated name.
    """
    name = Path(str(getattr(header, "filename", ""))).stem.upper()
    for found in IN_FILE_NAME.finditer(name):
        beside = {*name[: found.start()][-1:], *name[found.end() :][:1]}
        if found[1] or len(found[2]) > 2 or not beside & HEXADECIMAL:
            return found[1] or "", found[2]
    return "", ""
