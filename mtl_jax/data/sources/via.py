"""The box around an ROI as the VGG Image Annotator exports it."""

import json
import math

Box = tuple[float, float, float, float]

SHAPES = ("rect", "circle", "ellipse", "polygon", "polyline")


def parse_box(text: str) -> Box | str:
    """Return (top, left, bottom, right) in pixels of the cell region_shape_attributes, or why none
    is.

    A point has no extent, and '{}' is no ROI. ValueError: the cell is damaged.
    """
    try:
        shape = json.loads(text or "{}")
    except RecursionError as error:
        raise ValueError("nested without end") from error
    if not isinstance(shape, dict):
        raise ValueError("not an object")
    kind = shape.get("name")
    if not shape:
        return "no ROI drawn"
    if kind == "point":
        return "a point, not outlined"
    if kind not in SHAPES:
        raise ValueError(f"shape {kind!r} is none of {', '.join(SHAPES)}, point")
    if kind in ("polygon", "polyline"):
        columns, rows = _numbers(shape, "all_points_x"), _numbers(shape, "all_points_y")
        if len(columns) != len(rows):
            raise ValueError(f"{len(columns)} columns and {len(rows)} rows of points")
        if len(rows) <= 2:
            return f"{len(rows)} point(s), not outlined"
        return min(rows), min(columns), max(rows), max(columns)
    if kind == "rect":
        left, top, width, height = (_number(shape, key) for key in ("x", "y", "width", "height"))
        return top, left, top + height, left + width
    across, down = _radii(shape, kind)
    column, row = _number(shape, "cx"), _number(shape, "cy")
    return row - down, column - across, row + down, column + across


def _radii(shape: dict[str, object], kind: str) -> tuple[float, float]:
    """Half the width and half the height; an ellipse may be turned by theta, in radians."""
    if kind == "circle":
        return (_number(shape, "r"),) * 2
    rx, ry = _number(shape, "rx"), _number(shape, "ry")
    turn = _number(shape, "theta") if "theta" in shape else 0.0
    cos, sin = math.cos(turn), math.sin(turn)
    return math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)


def _numbers(shape: dict[str, object], key: str) -> list[float]:
    values = shape.get(key)
    if not isinstance(values, list):
        raise ValueError(f"no list {key}")
    return [_finite(value, key) for value in values]


def _number(shape: dict[str, object], key: str) -> float:
    return _finite(shape.get(key), key)


def _finite(value: object, key: str) -> float:
    # A whole number of thousands of digits has no float; abs compares it without one.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise ValueError(f"{key} {str(value)[:40]!r} is no coordinate")
    return float(value)
