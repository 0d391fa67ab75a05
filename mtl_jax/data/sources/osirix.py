"""Outlines as OsiriX exports them, a property list of an image."""

import math
import plistlib
import re
from pathlib import Path
from typing import Any

from mtl_jax.types import InputError

Outline = tuple[str, list[tuple[float, float]]]

MAX_BYTES = 8 * 2**20
MAX_OUTLINES, MAX_POINTS = 10_000, 1_000_000  # a binary list may repeat one object without end
_NUMBER = r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)"
_POINT = re.compile(rf"\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)\s*")


def read_outlines(path: Path) -> list[Outline]:
    """Return (name, [(column, row), ...]) of each outline in pixels from the top left, in order.

    Both the XML and the binary form of a property list are read; an XML one that declares entities
    is rejected. InputError gives the reason; the caller names the file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
        # A document type with a public identifier is usual; entities of its own never are.
        if b"<!ENTITY" in data:
            raise InputError(f"{path.name} declares entities, which no outline needs")
        return _outlines(plistlib.loads(data), path.name)
    except InputError:
        raise
    # The parser raises many types on a damaged file; whichever it is, the file is invalid.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path.name} is not a readable property list ({reason})") from error


def _outlines(content: object, name: str) -> list[Outline]:
    images = _list(content, "Images", name)
    marks = [mark for image in images[:1] for mark in _list(image, "ROIs", name)]
    if len(images) > 1 or len(marks) > MAX_OUTLINES:
        raise InputError(f"{name} holds {len(images)} images and {len(marks)} outlines")
    found: list[Outline] = []
    total = 0
    for mark in marks:
        points = _list(mark, "Point_px", name)
        total += len(points)
        if total > MAX_POINTS:
            raise InputError(f"{name} holds more than {MAX_POINTS} points")
        label = mark.get("Name", "")
        found.append((label if isinstance(label, str) else "", [_point(p, name) for p in points]))
    return found


def _list(content: object, key: str, name: str) -> list[Any]:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list):
        raise InputError(f"{name} has no list {key} where outlines have one")
    return value


def _point(text: object, name: str) -> tuple[float, float]:
    match = _POINT.fullmatch(text) if isinstance(text, str) and len(text) < 200 else None
    if not match:
        raise InputError(f"{name} has a point that is not '(column, row)': {str(text)[:40]!r}")
    column, row = map(float, match.groups())
    if not (math.isfinite(column) and math.isfinite(row)):
        raise InputError(f"{name} has a point without end: {text[:40]!r}")
    return column, row
