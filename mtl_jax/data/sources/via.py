"""Parse an ROI as exported by the VGG Image Annotator (VIA)."""

import json
import math

from mtl_jax.types import Box

SHAPES = ("rect", "circle", "ellipse", "polygon", "polyline")


def parse_box(text: str) -> Box | str:
    """Return the box of a region_shape_attributes, or why it has none; ValueError if damaged."""
    try:
        shape = json.loads(text or "{}")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(shape, dict):
        raise ValueError("not a JSON object")
    kind = shape.get("name")
    if not shape:
        return "no ROI drawn"
    if kind == "point":
        return "a point, not outlined"
    if kind not in SHAPES:
        raise ValueError(f"shape {kind!r} is invalid: expected {', '.join(SHAPES)} or point")
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
    half_width, half_height = _half_sizes(shape, kind)
    column, row = _number(shape, "cx"), _number(shape, "cy")
    return row - half_height, column - half_width, row + half_height, column + half_width


def _half_sizes(shape: dict[str, object], kind: str) -> tuple[float, float]:
    """Return half the width and half the height; an ellipse may be rotated by theta (radians)."""
    if kind == "circle":
        return (_number(shape, "r"),) * 2
    rx, ry = _number(shape, "rx"), _number(shape, "ry")
    theta = _number(shape, "theta") if "theta" in shape else 0.0
    cos, sin = math.cos(theta), math.sin(theta)
    return math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)


def _numbers(shape: dict[str, object], key: str) -> list[float]:
    values = shape.get(key)
    if not isinstance(values, list):
        raise ValueError(f"{key} is invalid: expected a list")
    return [_finite(value, key) for value in values]


def _number(shape: dict[str, object], key: str) -> float:
    return _finite(shape.get(key), key)


def _finite(value: object, key: str) -> float:
    # An integer of a thousand digits has no float, but can be compared with one.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise ValueError(f"{key} {str(value)[:40]!r} is invalid: expected a coordinate")
    return float(value)
