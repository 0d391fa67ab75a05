"""Turn the boxes of a table into boxes of a manifest: top;left;bottom;right in stored pixels."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mtl_jax.data.plausibility import MIN_INSIDE, NOTED_OUTSIDE
from mtl_jax.io.read_csv import plain
from mtl_jax.types import Box, InputError

Numbers = tuple[float, float, float, float]
# Each form as (top, left, bottom, right) of its four numbers.
FORMS: dict[str, Callable[[float, float, float, float], Box]] = {
    "xywh": lambda x, y, w, h: (y, x, y + h, x + w),
    "corners": lambda x1, y1, x2, y2: (y1, x1, y2, x2),
    "rowcol": lambda top, left, bottom, right: (top, left, bottom, right),
}
FORM_NAMES = {
    "xywh": "x, y, width, height",
    "corners": "x1, y1, x2, y2",
    "rowcol": "top, left, bottom, right",
}
# The names of columns from which the form is known, in its order.
KNOWN_NAMES: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "xywh": (
        ("x", "y", "w", "h"),
        ("x", "y", "width", "height"),
        ("left", "top", "width", "height"),
        ("xmin", "ymin", "width", "height"),
        ("xmin", "ymin", "w", "h"),
    ),
    "corners": (
        ("xmin", "ymin", "xmax", "ymax"),
        ("x1", "y1", "x2", "y2"),
        ("x0", "y0", "x1", "y1"),
    ),
    "rowcol": (
        ("top", "left", "bottom", "right"),
        ("row0", "col0", "row1", "col1"),
        ("row1", "col1", "row2", "col2"),
        ("r0", "c0", "r1", "c1"),
        ("rowmin", "colmin", "rowmax", "colmax"),
    ),
}
# A unit at the end of the name of a column.
_UNIT = re.compile(r"\s*[(\[].*[)\]]|[ _.-](?:mm|px|pixels?)$", re.IGNORECASE)


@dataclass(frozen=True)
class RowBox:
    """The four numbers of a row, and what is needed to place them in its image.

    `size` has the rows and columns of the image, `pixel_um` its pixel size (row, column) or None
    if it is unknown, which only boxes in mm need.
    """

    numbers: Numbers
    size: tuple[int, int]
    pixel_um: tuple[float, float] | None = None


def infer_form(columns: Sequence[str]) -> tuple[str, list[str]]:
    """Return the form that names of columns state, and the columns in its order; '' if unknown."""
    names = [plain(_UNIT.sub("", column)) for column in columns]
    for form, patterns in KNOWN_NAMES.items():
        for pattern in patterns:
            if sorted(names) == sorted(pattern):
                return form, [columns[names.index(name)] for name in pattern]
    return "", list(columns)


def names_mm(column: str) -> bool:
    """Return whether the name of a column says that its unit is mm, as in 'x (mm)' or x_mm."""
    return "mm" in "".join(_UNIT.findall(column)).casefold()


def to_pixels(row: RowBox, form: str, unit: str, first_pixel: int) -> Box:
    """Return (top, left, bottom, right) in stored pixels, counted from 0.

    Coordinates in mm are from the outer corner of the first pixel; those in px count the first
    pixel as `first_pixel`, 0 or 1.
    """
    top, left, bottom, right = FORMS[form](*row.numbers)
    if unit != "mm":
        return top - first_pixel, left - first_pixel, bottom - first_pixel, right - first_pixel
    if row.pixel_um is None:
        raise InputError("a box in mm needs the pixel size: --map pixel_um=COLUMN")
    down, across = (1000.0 / um for um in row.pixel_um)
    return top * down, left * across, bottom * down, right * across


def fault(box: Box, size: tuple[int, int]) -> str:
    """Return why a box cannot be that of a lesion in an image of `size`, '' if it can."""
    top, left, bottom, right = box
    if bottom <= top:
        return f"its bottom ({bottom:g}) is not below its top ({top:g})"
    if right <= left:
        return f"its right edge ({right:g}) is not beyond its left edge ({left:g})"
    outside = 1 - _inside(box, size)
    of_image = f"the image of {size[0]} rows and {size[1]} columns"
    return f"{100 * outside:.0f}% of it is outside {of_image}" if outside > 1 - MIN_INSIDE else ""


def fits(box: Box, size: tuple[int, int]) -> bool:
    """Return whether a box is in its image, as nearly as real boxes are."""
    return box[2] > box[0] and box[3] > box[1] and _inside(box, size) >= 1 - NOTED_OUTSIDE


def fitting_forms(rows: Sequence[RowBox], unit: str, first_pixel: int) -> list[str]:
    """Return the forms in which the boxes of all rows are in their images."""
    return [
        form
        for form in FORMS
        if all(fits(to_pixels(row, form, unit, first_pixel), row.size) for row in rows)
    ]


def may_be_mm(rows: Sequence[RowBox], form: str) -> bool:
    """Return whether boxes of an unknown unit may be in mm.

    Boxes in pixels are nearly always whole numbers. Those of most rows have decimals here, their
    pixel sizes are known, and as boxes in mm all of them fit their images, in `form` or, if it is
    '', in any form.
    """
    sized = [row for row in rows if row.pixel_um is not None]
    with_decimals = sum(any(number % 1 for number in row.numbers) for row in sized)
    if with_decimals <= len(rows) / 2:
        return False
    fitting = fitting_forms(sized, "mm", 0)
    return form in fitting if form else bool(fitting)


def fit_swapped(rows: Sequence[RowBox], form: str, unit: str, first_pixel: int) -> bool:
    """Return whether all boxes are in their images if rows and columns are swapped."""
    swapped = [
        replace(row, numbers=(second, first, fourth, third))
        for row in rows
        for first, second, third, fourth in [row.numbers]
    ]
    return all(fits(to_pixels(row, form, unit, first_pixel), row.size) for row in swapped)


def suggest_form(
    rows: Sequence[RowBox], columns: Sequence[str], form: str, unit: str, first_pixel: int
) -> list[str]:
    """Return what fits all rows if `form` does not: another form, or swapped columns."""
    boxes = [to_pixels(row, form, unit, first_pixel) for row in rows]
    outside = sum(not fits(box, row.size) for box, row in zip(boxes, rows, strict=True))
    if not outside:
        return []
    reading = f"as {form} ({FORM_NAMES[form]}), {outside} of {len(rows)} boxes leave their images"
    others = [
        f"{reading}; as {other} ({FORM_NAMES[other]}) none does: if that is right, give --box-form"
        f" {other}"
        for other in fitting_forms(rows, unit, first_pixel)
    ]
    if others or not fit_swapped(rows, form, unit, first_pixel):
        return others
    cure = "swap the numbers in the column"
    if len(columns) == 4:
        first, second, third, fourth = columns
        cure = f"give --box {second},{first},{fourth},{third} --box-form {form}"
    return [f"{reading}; with rows and columns swapped none does: if that is right, {cure}"]


def _inside(box: Box, size: tuple[int, int]) -> float:
    """Return the share of a box's area that is inside an image."""
    inside = 1.0
    for begin, end, length in zip(box[:2], box[2:], size, strict=True):
        inside *= max(min(end, length) - max(begin, 0), 0.0) / (end - begin)
    return inside
