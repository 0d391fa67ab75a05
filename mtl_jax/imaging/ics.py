"""Read the `.ics` file of a DDSM case: digitizer, film sizes, bits and pixel size."""

import re
from dataclasses import dataclass
from pathlib import Path

from mtl_jax.types import InputError

MAX_BYTES = 100_000  # the files of DDSM have less than 1000
_WORD = re.compile(r"[\w.-]{1,80}")
_VIEW = re.compile(r"[A-Z_]{1,20}")  # it becomes part of a file name


@dataclass(frozen=True)
class Film:
    """One film line of the file: a view of the case."""

    lines: int  # rows
    pixels_per_line: int  # columns
    bits: int
    resolution_um: float
    overlay: bool  # an OVERLAY file with outlines of abnormalities exists


@dataclass(frozen=True)
class Case:
    """One case: its name such as B-3024-1, its digitizer, and its films by view (LEFT_CC ...).

    `device` is the whole text on the digitizer, such as LUMISYS LASER, of which `digitizer` is the
    first word.
    """

    name: str
    digitizer: str
    device: str
    films: dict[str, Film]


def read(path: Path) -> Case:
    """Return the case of an `.ics` file. The InputError gives reason and line, not the file."""
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise InputError(f"longer than {MAX_BYTES} bytes, so not an .ics file; download it again")
    fields = {"filename": "", "DIGITIZER": ""}
    device = ""
    films: dict[str, Film] = {}
    for number, line in enumerate(text.decode("latin-1").splitlines(), start=1):
        words = line.split()
        if len(words) > 1 and words[0] in fields:
            if not _WORD.fullmatch(words[1]):
                raise InputError(f"line {number}: {words[0]} is invalid: expected one word")
            fields[words[0]] = words[1]
            if words[0] == "DIGITIZER":
                device = " ".join(words[1:])
        elif len(words) > 1 and words[1] == "LINES":
            if not _VIEW.fullmatch(words[0]):
                raise InputError(
                    f"line {number}: the view is invalid: expected LEFT_CC or the like"
                )
            films[words[0]] = _film(words, f"line {number}")
    if not fields["filename"] or not films:
        raise InputError("no filename line or no film line (LEFT_CC LINES ...); download it again")
    return Case(fields["filename"], fields["DIGITIZER"], device, films)


def find_film(image: Path) -> Film | None:
    """Return the film of `image` (B_3024_1.LEFT_CC.LJPEG) by the `.ics` file beside it, if any."""
    name, view = (image.name.split(".") + [""])[:2]
    path = image.with_name(name.replace("_", "-") + ".ics")
    if not path.is_file():
        return None
    try:
        return read(path).films.get(view)
    except InputError as error:
        raise InputError(f"the .ics file in its folder: {error}") from error


def _film(words: list[str], where: str) -> Film:
    # Pairs of name and number, then OVERLAY or NON_OVERLAY.
    fields = dict(zip(words[1:-1:2], words[2:-1:2], strict=False))
    try:
        film = Film(
            lines=int(fields["LINES"]),
            pixels_per_line=int(fields["PIXELS_PER_LINE"]),
            bits=int(fields["BITS_PER_PIXEL"]),
            resolution_um=float(fields["RESOLUTION"]),
            overlay=words[-1] == "OVERLAY",
        )
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{where}: expected a number each for LINES, PIXELS_PER_LINE, BITS_PER_PIXEL and"
            " RESOLUTION"
        ) from error
    if (
        not 0 < film.lines < 65536
        or not 0 < film.pixels_per_line < 65536
        or not 2 <= film.bits <= 16
        or not 10 <= film.resolution_um <= 200
    ):
        raise InputError(
            f"{where}: {film.lines} lines of {film.pixels_per_line} pixels, {film.bits} bits,"
            f" {film.resolution_um:g} um are implausible; download it again"
        )
    return film
