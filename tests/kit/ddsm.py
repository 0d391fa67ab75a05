"""Write DDSM cases as distributed: `.ics` files, LJPEG films and OVERLAY files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kit.ljpeg import encode

MASS = "MASS SHAPE IRREGULAR MARGINS SPICULATED"
CALCIFICATION = "CALCIFICATION TYPE PLEOMORPHIC DISTRIBUTION CLUSTERED"


@dataclass
class Lesion:
    """An abnormality whose outline fills `box` (top, left, bottom, right), half open."""

    box: tuple[int, int, int, int]
    pathology: str = "MALIGNANT"
    types: tuple[str, ...] = (MASS,)
    core: bool = False


@dataclass
class Film:
    """One view: stored gray (H, W) and outlined lesions.

    `swapped_size`: the stream states width and height in the wrong order, as some real ones do.
    """

    gray: np.ndarray
    lesions: list[Lesion] = field(default_factory=list)
    selector: int = 7
    swapped_size: bool = False


def make_case(
    folder: Path,
    films: dict[str, Film],
    name: str = "B-3024-1",
    digitizer: str = "LUMISYS",
    bits: int = 12,
    resolution: str = "50",
) -> Path:
    """Write the case folder `folder`/case<number> of `films` by view and return it."""
    home = folder / f"case{name.split('-')[1]}"
    home.mkdir(parents=True)
    stem = name.replace("-", "_")
    lines = [
        "ics_version 1.0",
        f"filename {name}",
        "DATE_OF_STUDY 2 7 1995",
        "PATIENT_AGE 42",
        "FILM ",
        "FILM_TYPE REGULAR",
        "DENSITY 4",
        "DATE_DIGITIZED 7 22 1997 ",
        f"DIGITIZER {digitizer}",
        "SELECTED",
    ]
    for view, film in films.items():
        height, width = film.gray.shape
        lines.append(
            f"{view} LINES {height} PIXELS_PER_LINE {width} BITS_PER_PIXEL {bits}"
            f" RESOLUTION {resolution} {'OVERLAY' if film.lesions else 'NON_OVERLAY'}"
        )
        coded = film.gray.reshape(width, height) if film.swapped_size else film.gray
        (home / f"{stem}.{view}.LJPEG").write_bytes(encode(coded, bits, film.selector))
        if film.lesions:
            (home / f"{stem}.{view}.OVERLAY").write_text(overlay(film.lesions))
    (home / f"{name}.ics").write_text("\n".join(lines) + "\n")
    (home / f"TAPE_{stem}.COMB.16_PGM").write_bytes(b"P5\n1 1\n255\n\0")
    return home


def overlay(lesions: list[Lesion]) -> str:
    """Return the text of an OVERLAY file."""
    text = f"TOTAL_ABNORMALITIES {len(lesions)}\n"
    for number, lesion in enumerate(lesions, start=1):
        text += f"ABNORMALITY {number}\n"
        text += "".join(f"LESION_TYPE {kind}\n" for kind in lesion.types)
        text += f"ASSESSMENT 4\nSUBTLETY 3\nPATHOLOGY {lesion.pathology}\n"
        text += f"TOTAL_OUTLINES {1 + lesion.core} \nBOUNDARY\n{outline(lesion.box)} #\n"
        if lesion.core:
            top, left, bottom, right = lesion.box
            text += f"\tCORE\n{outline((top + 4, left + 4, bottom - 4, right - 4))} #\n"
    return text


def outline(box: tuple[int, int, int, int]) -> str:
    """Return column, row and chain codes of an octagon that touches all sides of `box`."""
    top, left, bottom, right = box
    corner = min(bottom - top, right - left) // 4
    width, height = right - left - 1 - 2 * corner, bottom - top - 1 - 2 * corner
    runs = zip("23456701", [width, corner, height, corner] * 2, strict=True)
    return " ".join([str(left + corner), str(top), *(code for code, n in runs for _ in range(n))])
