"""Read the outlines of an image as exported by OsiriX, a property list."""

import math
import plistlib
import re
from pathlib import Path
from typing import Any

from mtl_jax.types import InputError

Outline = tuple[str, list[tuple[float, float]]]

MAX_BYTES = 8 * 2**20
MAX_OUTLINES, MAX_POINTS = 10_000, 1_000_000  # a binary list may repeat one object many times
_NUMBER = r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)"
_POINT = re.compile(rf"\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)\s*")


def read_outlines(path: Path) -> list[Outline]:
    """Return (name, [(column, row), ...]) of each outline, in pixels from the top left.

    The InputError for a damaged or hostile file names it without its folder.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
        # A document type with a public identifier is usual; entity declarations are an attack.
        if b"<!ENTITY" in data:
            raise InputError(f"{path.name} declares XML entities; export it again")
        return _parse_outlines(plistlib.loads(data), path.name)
    except InputError:
        raise
    # plistlib raises many exception types for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path.name} is not a readable property list ({reason})") from error


def _parse_outlines(content: object, name: str) -> list[Outline]:
    images = _list(content, "Images", name)
    rois = [roi for image in images[:1] for roi in _list(image, "ROIs", name)]
    if len(images) > 1 or len(rois) > MAX_OUTLINES:
        raise InputError(f"{name} has {len(images)} images and {len(rois)} outlines")
    outlines: list[Outline] = []
    n_points = 0
    for roi in rois:
        points = _list(roi, "Point_px", name)
        n_points += len(points)
        if n_points > MAX_POINTS:
            raise InputError(f"{name} has more than {MAX_POINTS} points")
        label = roi.get("Name", "")
        label = label if isinstance(label, str) else ""
        outlines.append((label, [_parse_point(point, name) for point in points]))
    return outlines


def _list(content: object, key: str, name: str) -> list[Any]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list):
        raise InputError(f"{name} has no list {key}, so it is not a list of outlines")
    return value


def _parse_point(text: object, name: str) -> tuple[float, float]:
    match = _POINT.fullmatch(text) if isinstance(text, str) and len(text) < 200 else None
    if not match:
        raise InputError(f"{name}: point {str(text)[:40]!r} is invalid: expected '(column, row)'")
    column, row = map(float, match.groups())
    if not (math.isfinite(column) and math.isfinite(row)):
        raise InputError(f"{name}: point {text[:40]!r} is invalid: expected finite numbers")
    return column, row
