"""Write a small simulated CDD-CESM in the layout of TCIA."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openpyxl
from PIL import Image as Picture

from kit.lesion import circle, film

TABLE = (
    *("Image_name", "Patient_ID", "Side", "Type", "Age", "Breast density (ACR)", "BIRADS"),
    *("Findings", "View", "Tags", "Machine", "Pathology Classification/ Follow up"),
)
VIA = (
    *("#filename", "file_size", "file_attributes", "region_count", "region_id"),
    *("region_shape_attributes", "region_attributes"),
)
SHAPE = (520, 400)


class Image(NamedTuple):
    """A row of the table and the discs (row, column, radius) in the image."""

    name: str
    pathology: str
    findings: str
    rois: tuple[tuple[str, dict], ...] = ()  # (name of the shape, its attributes)
    discs: tuple[tuple[float, float, float], ...] = ()


def polygon(row: float, column: float, radius: float, name: str = "polygon") -> tuple[str, dict]:
    columns, rows = zip(*circle(row, column, radius), strict=True)
    return name, {"all_points_x": list(map(round, columns)), "all_points_y": list(map(round, rows))}


IMAGES = (
    Image("P1_L_DM_CC", "Malignant", "Mass", (polygon(200, 150, 40),), ((200, 150, 40),)),
    # Some names have stray blanks in the tables and in the folder.
    Image(
        *("P1_L_DM_MLO ", "Malignant", "Mass$Calcifications"),
        (("ellipse", {"cx": 180, "cy": 260, "rx": 45, "ry": 30}),),
        ((260, 180, 30),),
    ),
    Image("P1_L_CM_CC", "Malignant", "Mass enhancement", (polygon(200, 150, 40),)),
    Image(
        *("P2_R_DM_MLO", "Benign", "Mass"),
        (
            ("circle", {"cx": 210, "cy": 330, "r": 25}),
            ("point", {"cx": 210, "cy": 330}),
            polygon(120, 100, 20, "polyline"),
        ),
        ((330, 210, 25), (120, 100, 20)),
    ),
    Image("P2_R_DM_CC", "Benign", "Calcifications", (polygon(200, 150, 40),)),
    Image("P3_R_DM_CC", "Normal", "", (polygon(200, 150, 40),)),
    Image("P3_L_DM_CC", "Normal", ""),
    Image(
        *("P4_L_DM_CC", "Benign", "Mass"),
        (("rect", {"x": 100, "y": 140, "width": 60, "height": 80}),),
        ((180, 130, 30),),
    ),
)


def make_cdd_cesm(folder: Path, images: Sequence[Image] = IMAGES) -> Path:
    """Write images, gray or R = G = B, and tables into `folder` and return it."""
    rows, rois = [], []
    for number, image in enumerate(images):
        kind = "Low energy" if "_DM_" in image.name else "Subtracted"
        home = folder / "PKG - CDD-CESM" / "CDD-CESM" / f"{kind} images of CDD-CESM"
        home.mkdir(parents=True, exist_ok=True)
        gray = film(SHAPE, *image.discs, top=255).astype(np.uint8)
        picture = np.stack([gray] * 3, 2) if number % 2 else gray
        Picture.fromarray(picture).save(home / f"{image.name}.jpg", quality=95)
        patient, side, type_, view = (image.name.strip().split("_") + [""] * 4)[:4]
        type_ = "CESM" if type_ == "CM" else type_
        density = "B" if type_ == "DM" else "_"
        rows.append(
            (image.name, int(patient.split()[0][1:]), side, type_, 45.0, density)
            + ("4$2", image.findings, view, "", 1, image.pathology)
        )
        for roi, (shape, attributes) in enumerate(image.rois):
            text = json.dumps({"name": shape, **attributes})
            count = len(image.rois)
            rois.append((f"{image.name}.jpg", 1234, "{}", count, roi, text, "{}"))
    book = openpyxl.Workbook()
    book.active.title = "mass_description"
    book.active.append(["Image_name", "Mass shape", "Mass margin", "Mass density"])
    page = book.create_sheet("all")
    for row in (TABLE, *rows):
        page.append(list(row))
    book.save(folder / "Radiology-manual-annotations.xlsx")
    with (folder / "Radiology_hand_drawn_segmentations_v2.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerows((VIA, *rois))
    return folder
