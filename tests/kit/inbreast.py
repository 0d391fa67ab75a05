"""Write a small simulated release of INbreast."""

import plistlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kit.dicom import write_dicom
from kit.lesion import circle, film

HEADER = "Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads"
SHAPE = (760, 640)
Point = tuple[float, float]  # column, row


class Image(NamedTuple):
    """One image, its row of the table and its outlines (name, points)."""

    number: int
    patient: str
    side: str
    view: str  # CC or MLO; file names write ML for MLO
    birads: str
    outlines: tuple[tuple[str, list[Point]], ...] = ()
    date: str = "200801"


def mass(row: float, column: float, radius: float = 60, name: str = "Mass") -> tuple[str, list]:
    return name, circle(row, column, radius)


ONE, TWO, THREE = "6c613a14b80a8591", "036aff49b8ac84f0", "d713ef5849f98b6c"
# Six masses in five images: three in BI-RADS 4a to 6, three in 1 to 3.
IMAGES = (
    Image(20586908, ONE, "R", "CC", "5", (mass(300, 250), ("Calcification", [(5.0, 6.0)]))),
    Image(20586934, ONE, "R", "MLO", "5", (mass(420.5, 300.25), mass(200, 200, 90, "Espiculated"))),
    Image(20586960, ONE, "L", "CC", "1"),  # no finding, no XML
    Image(20587054, TWO, "L", "CC", "2", (mass(200, 250), mass(500, 300, 40))),
    Image(20587080, TWO, "L", "MLO", "3", (mass(333, 222), ("Assymetry", circle(90, 90, 30)))),
    Image(
        *(22427705, THREE, "L", "CC", "4a"),
        (
            mass(380, 320, 50, "mass "),
            *[(name, circle(100, 100, 20)) for name in ("Distortion", "Cluster", "UNNAMED", "")],
            ("Mass", [(10.0, 20.0), (11.0, 21.0)]),
        ),
        "201002",
    ),
)


def make_inbreast(
    folder: Path, images: Sequence[Image] = IMAGES, pixel_um: float | None = None
) -> Path:
    """Write 'INbreast Release 1.0' into `folder` and return it.

    Images show the outlined masses. Headers have a pixel size only if `pixel_um` is given.
    """
    release = folder / "INbreast Release 1.0"
    (release / "AllXML").mkdir(parents=True)
    rows = [HEADER]
    for image in images:
        name = f"{image.number}_{image.patient}_MG_{image.side}_{image.view[:2]}_ANON.dcm"
        spacing = {} if pixel_um is None else {"ImagerPixelSpacing": [pixel_um / 1000] * 2}
        masses = [points for name, points in image.outlines if name.strip().lower() == "mass"]
        write_dicom(
            release / "AllDICOMs" / name,
            film(SHAPE, *map(_disc, masses), top=16383),
            bits=14,
            **spacing,
        )
        if image.outlines:
            write_outlines(release / "AllXML" / f"{image.number}.xml", image.outlines)
        rows.append(
            f"removed;removed;{image.side};{image.view};{image.date};{image.number};2;{image.birads}"
        )
    (release / "INbreast.csv").write_text("\n".join(rows) + "\n")
    return release


def write_outlines(
    path: Path, outlines: Sequence[tuple[str, list[Point]]], binary: bool = False
) -> None:
    """Write a property list as OsiriX does: points are texts '(column, row)'."""
    rois = [
        {
            "Area": 1.5,
            "Center": "(1.000000, 2.000000, 0.000000)",
            "IndexInImage": number,
            "Name": name,
            "NumberOfPoints": len(points),
            "Point_mm": [],
            "Point_px": [f"({column:f}, {row:f})" for column, row in points],
            "Type": 15,
        }
        for number, (name, points) in enumerate(outlines)
    ]
    image = {"ImageIndex": 0, "NumberOfROIs": len(rois), "ROIs": rois}
    kind = plistlib.FMT_BINARY if binary else plistlib.FMT_XML
    path.write_bytes(plistlib.dumps({"Images": [image]}, fmt=kind))


def _disc(points: list[Point]) -> tuple[float, float, float]:
    columns, rows = zip(*points, strict=True)
    row, column = (min(rows) + max(rows)) / 2, (min(columns) + max(columns)) / 2
    return row, column, (max(rows) - min(rows)) / 2
