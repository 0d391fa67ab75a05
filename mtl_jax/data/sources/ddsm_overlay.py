"""Read the `.OVERLAY` file of a DDSM film: abnormalities and their outlines."""

from dataclasses import dataclass
from pathlib import Path

from mtl_jax.types import Box, InputError

MAX_BYTES = 4_000_000  # real files have a few kilobytes
# Chain codes count clockwise from up: steps in (rows, columns).
STEPS = {
    **{"0": (-1, 0), "1": (-1, 1), "2": (0, 1), "3": (1, 1)},
    **{"4": (1, 0), "5": (1, -1), "6": (0, -1), "7": (-1, -1)},
}


@dataclass(frozen=True)
class Abnormality:
    """One abnormality of one film.

    `types` are its LESION_TYPEs, such as MASS or CALCIFICATION; `box` is (top, left, bottom, right)
    in pixels, half open, of its BOUNDARY. `outlines` is the number of outlines in the file and
    `outlines_promised` its TOTAL_OUTLINES, which differ in some files. `surplus` is the number of
    abnormalities in the file minus its TOTAL_ABNORMALITIES.
    """

    number: int
    types: tuple[str, ...]
    pathology: str
    box: Box
    outlines: int
    outlines_promised: int
    surplus: int = 0


def read(path: Path) -> tuple[Abnormality, ...]:
    """Return all abnormalities of an OVERLAY file, in order.

    Some files of the collection have more abnormalities than their TOTAL_ABNORMALITIES; all of them
    are complete. A file with fewer is truncated.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError("too long for an OVERLAY file; download it again")
    words = data.decode("latin-1").split()
    starts = [i for i, word in enumerate(words) if word == "ABNORMALITY"]
    stated = _number(_after(words, "TOTAL_ABNORMALITIES"))
    if stated is None or stated > len(starts) or not starts:
        raise InputError(f"{len(starts)} abnormalities, TOTAL_ABNORMALITIES {stated}: truncated?")
    ends = [*starts[1:], len(words)]
    surplus = len(starts) - stated
    abnormalities = tuple(
        _parse_abnormality(words[start:end], surplus)
        for start, end in zip(starts, ends, strict=True)
    )
    if len({abnormality.number for abnormality in abnormalities}) < len(abnormalities):
        raise InputError("two abnormalities have the same number")
    return abnormalities


def _parse_abnormality(words: list[str], surplus: int) -> Abnormality:
    number = _number(_after(words, "ABNORMALITY"))
    types = tuple(words[i + 1] for i, word in enumerate(words[:-1]) if word == "LESION_TYPE")
    if number is None or not types:
        raise InputError("an abnormality without number or LESION_TYPE")
    if "BOUNDARY" not in words or words[-1] != "#":
        raise InputError(f"abnormality {number} has no BOUNDARY that ends in #: truncated?")
    outlines = words[words.index("BOUNDARY") + 1 :]
    return Abnormality(
        number=number,
        types=types,
        pathology=_after(words, "PATHOLOGY"),
        box=_box(outlines[: outlines.index("#")], f"abnormality {number}"),
        outlines=outlines.count("#"),
        outlines_promised=_number(_after(words, "TOTAL_OUTLINES")) or 0,
        surplus=surplus,
    )


def _box(words: list[str], name: str) -> Box:
    """Return the box around all pixels of an outline: column, row, then chain codes."""
    column, row = (_number(word) for word in (words + ["", ""])[:2])
    if column is None or row is None:
        raise InputError(f"{name}: its BOUNDARY does not begin with a column and a row")
    top, left, bottom, right = row, column, row, column
    for code in words[2:]:
        if code not in STEPS:
            raise InputError(f"{name}: chain code {code[:20]!r} is invalid: expected 0 to 7")
        row_step, column_step = STEPS[code]
        row, column = row + row_step, column + column_step
        top, bottom = min(top, row), max(bottom, row)
        left, right = min(left, column), max(right, column)
    return float(top), float(left), float(bottom + 1), float(right + 1)


def _after(words: list[str], key: str) -> str:
    """Return the word after the first `key`, or '' if there is none."""
    i = words.index(key) + 1 if key in words else len(words)
    return words[i] if i < len(words) else ""


def _number(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 6 else None
