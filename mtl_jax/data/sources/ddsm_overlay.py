"""The `.OVERLAY` text beside a DDSM film: abnormalities and their outlines."""

from dataclasses import dataclass
from pathlib import Path

from mtl_jax.types import InputError

MAX_BYTES = 4_000_000  # a real file has some kilobytes
# Chain codes run clockwise from straight up: (rows, columns).
STEPS = {
    **{"0": (-1, 0), "1": (-1, 1), "2": (0, 1), "3": (1, 1)},
    **{"4": (1, 0), "5": (1, -1), "6": (0, -1), "7": (-1, -1)},
}


@dataclass(frozen=True)
class Abnormality:
    """One abnormality of one film.

    `types` are its LESION_TYPEs, such as MASS or CALCIFICATION; `box` is (top, left, bottom, right)
    in pixels, half open, of its BOUNDARY: any CORE lies inside. `outlines` counts those that are
    drawn, `outlines_promised` is what the file says, which differs in some of the collection.
    `surplus` is how many abnormalities the file holds beyond its TOTAL_ABNORMALITIES.
    """

    number: int
    types: tuple[str, ...]
    pathology: str
    box: tuple[float, float, float, float]
    outlines: int
    outlines_promised: int
    surplus: int = 0


def read(path: Path) -> tuple[Abnormality, ...]:
    """Return all abnormalities of the file at `path`, in its order.

    Some files of the collection hold more abnormalities than their TOTAL_ABNORMALITIES says: each
    of them is complete and is returned. Fewer mean that the file was cut short.
    InputError gives the reason; the caller names the file.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError("too long for an OVERLAY file; fetch it again")
    words = data.decode("latin-1").split()
    starts = [at for at, word in enumerate(words) if word == "ABNORMALITY"]
    promised = _number(_after(words, "TOTAL_ABNORMALITIES"))
    if promised is None or promised > len(starts) or not starts:
        raise InputError(f"{len(starts)} abnormalities, TOTAL_ABNORMALITIES {promised}: truncated?")
    ends = [*starts[1:], len(words)]
    surplus = len(starts) - promised
    found = tuple(_abnormality(words[a:b], surplus) for a, b in zip(starts, ends, strict=True))
    if len({one.number for one in found}) < len(found):
        raise InputError("two abnormalities have the same number")
    return found


def _abnormality(words: list[str], surplus: int) -> Abnormality:
    number = _number(_after(words, "ABNORMALITY"))
    types = tuple(words[at + 1] for at, word in enumerate(words[:-1]) if word == "LESION_TYPE")
    if number is None or not types:
        raise InputError("an abnormality without number or LESION_TYPE")
    if "BOUNDARY" not in words or words[-1] != "#":
        raise InputError(f"abnormality {number} has no BOUNDARY that ends in #: truncated?")
    drawn = words[words.index("BOUNDARY") + 1 :]
    return Abnormality(
        number=number,
        types=types,
        pathology=_after(words, "PATHOLOGY"),
        box=_box(drawn[: drawn.index("#")], f"abnormality {number}"),
        outlines=drawn.count("#"),
        outlines_promised=_number(_after(words, "TOTAL_OUTLINES")) or 0,
        surplus=surplus,
    )


def _box(words: list[str], where: str) -> tuple[float, float, float, float]:
    """Return the box around all pixels that an outline runs through: column, row, then chain
    codes."""
    column, row = (_number(word) for word in (words + ["", ""])[:2])
    if column is None or row is None:
        raise InputError(f"{where}: its BOUNDARY does not begin with a column and a row")
    top, left, bottom, right = row, column, row, column
    for code in words[2:]:
        if code not in STEPS:
            raise InputError(f"{where}: chain code {code[:20]!r} is none of 0 to 7")
        down, along = STEPS[code]
        row, column = row + down, column + along
        top, bottom = min(top, row), max(bottom, row)
        left, right = min(left, column), max(right, column)
    return float(top), float(left), float(bottom + 1), float(right + 1)


def _after(words: list[str], key: str) -> str:
    """Return the word after the first `key`; empty where there is none."""
    at = words.index(key) + 1 if key in words else len(words)
    return words[at] if at < len(words) else ""


def _number(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() and len(word) < 6 else None
