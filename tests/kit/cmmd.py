"""Write a small simulated CMMD in the layout of the NBIA retriever."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import openpyxl

from kit.dicom import view_code, write_dicom
from kit.lesion import film

COLUMNS = ("ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype")
SHAPE = (480, 360)
# The two coding schemes of views.
CODES = {
    "CC": (("399162004", "SCT", "cranio-caudal"), ("R-10242", "SRT", "cranio-caudal")),
    "MLO": (("399368009", "SCT", "medio-lateral oblique"), ("R-10226", "SRT", "oblique")),
}


class Image(NamedTuple):
    """One DICOM file; disc is (row, column, radius) of its lesion in pixels, or empty."""

    patient: str
    name: str
    side: str
    view: str
    disc: tuple[float, ...] = ()
    scheme: int = 0  # of CODES


BREASTS = (
    ("D1-0001", "R", 44.0, 2.0, "calcification", "Benign", None),
    ("D1-0002", "L", 40, 2, "both", "Benign", None),
    ("D1-0002", "R", 40, 2, "mass", "Malignant", None),
    ("D2-0003", "L", 61, 2, "mass", "Malignant", "Luminal A"),
    ("D2-0004", "R", 52, 2, "mass", "Malignant", "HER2-enriched"),
)
IMAGES = (
    Image("D1-0001", "1-1.dcm", "R", "CC", (200, 150, 30)),
    Image("D1-0002", "1-1.dcm", "L", "CC", (210.5, 160.5, 30)),
    Image("D1-0002", "1-2.dcm", "L", "MLO", (180, 170, 40), 1),
    # File numbers do not determine sides.
    Image("D1-0002", "1-3.dcm", "R", "MLO", (220, 200, 25), 1),
    Image("D1-0002", "1-4.dcm", "R", "CC"),
    Image("D2-0003", "1-1.dcm", "R", "CC", (150, 150, 20)),  # the unlisted side
    Image("D2-0003", "1-2.dcm", "L", "CC", (260, 190, 45)),
)


def make_cmmd(
    folder: Path,
    images: Sequence[Image] = IMAGES,
    breasts: Sequence[Sequence[object]] = BREASTS,
    pixel_um: float = 94.1,
) -> tuple[Path, Path]:
    """Write CMMD into `folder`; return its folder and a CSV of boxes around its discs."""
    home = folder / "manifest-1616439774456"
    home.mkdir(parents=True)
    rows = ["image_path,box,lesion_id"]
    for image in images:
        relative = f"CMMD/{image.patient}/07-18-2010-NA-NA-79377/1.000000-NA-70244/{image.name}"
        write_dicom(
            home / relative,
            film(SHAPE, *([image.disc] if image.disc else []), top=255),
            bits=8,
            PatientID=image.patient,
            ImageLaterality=image.side,
            ViewCodeSequence=view_code(*CODES[image.view][image.scheme]),
            ImagerPixelSpacing=[pixel_um / 1000] * 2,
        )
        if image.disc:
            row, column, radius = image.disc
            box = ";".join(f"{v:g}" for v in (row - radius, column - radius, row + radius))
            rows.append(f"{relative},{box};{column + radius:g},{image.side}1")
    (home / "boxes.csv").write_text("\n".join(rows) + "\n")
    write_table(home / "CMMD_clinicaldata_revision.xlsx", breasts)
    return home, home / "boxes.csv"


def write_table(path: Path, breasts: Sequence[Sequence[object]]) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Sheet1"
    for row in (COLUMNS, *breasts):
        book.active.append(list(row))
    book.save(path)
