"""Write a small simulated VinDr-Mammo in the layout of PhysioNet."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kit.dicom import write_dicom
from kit.lesion import film

BREAST = (
    *("study_id", "series_id", "image_id", "laterality", "view_position", "height", "width"),
    *("breast_birads", "breast_density"),
)
FINDING = ("finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax")
SHAPE = (520, 400)


class Finding(NamedTuple):
    """A row of finding_annotations.csv; box is (xmin, ymin, xmax, ymax) or empty."""

    study: str
    image: str
    side: str
    view: str
    split: str
    categories: str = "['No Finding']"
    birads: str = ""
    box: tuple[float, ...] = ()


ONE, TWO, THREE = "b8d273e8601f348d3664778dae0e7e0b", "8269f5971eaca3e5d3772d1796e6bd7a", "fe7d005d"
MASS = "['Mass']"
FINDINGS = (
    Finding(ONE, "img1", "L", "CC", "training", MASS, "BI-RADS 4", (150, 200, 250, 300)),
    Finding(ONE, "img2", "L", "MLO", "training", MASS, "BI-RADS 4", (160.5, 210.25, 250.5, 300.75)),
    Finding(ONE, "img3", "R", "CC", "training"),
    Finding(
        *(TWO, "img4", "R", "MLO", "test", "['Mass', 'Skin Retraction']", "BI-RADS 5"),
        (-12.5, 100, 80, 180),  # reaches beyond the image
    ),
    Finding(TWO, "img4", "R", "MLO", "test", MASS, "BI-RADS 3", (200, 300, 260, 380)),
    Finding(
        *(TWO, "img4", "R", "MLO", "test", "['Suspicious Calcification']", "BI-RADS 4"),
        (10, 10, 40, 40),
    ),
    Finding(THREE, "img5", "L", "CC", "training", MASS, "BI-RADS 2", (100, 100, 140, 140)),
    Finding(THREE, "img6", "L", "MLO", "training", MASS, "BI-RADS 3", (120, 140, 200, 220)),
)


def make_vindr_mammo(
    folder: Path, findings: Sequence[Finding] = FINDINGS, pixel_um: float = 100
) -> Path:
    """Write the release into `folder`/1.0.0 and return it; each mass is a disc in its box.

    Every other image is MONOCHROME1, and window centres have several values, as in the original.
    """
    release = folder / "1.0.0"
    release.mkdir(parents=True)
    by_image: dict[str, list[Finding]] = {}
    for finding in findings:
        by_image.setdefault(finding.image, []).append(finding)
    for number, (image, image_findings) in enumerate(by_image.items()):
        boxes = [f.box for f in image_findings if f.box and "Mass" in f.categories]
        gray = film(SHAPE, *map(_disc, boxes))
        inverted = number % 2 == 1
        write_dicom(
            release / "images" / image_findings[0].study / f"{image}.dicom",
            4095 - gray if inverted else gray,
            PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
            ImagerPixelSpacing=[pixel_um / 1000] * 2,
            WindowCenter=[2000, 2100],
            WindowWidth=[4000, 4100],
        )
    with (release / "finding_annotations.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow((*BREAST, *FINDING, "split"))
        table.writerows(
            (
                *(f.study, f"{f.study}-s", f.image, f.side, f.view, *SHAPE),
                *("BI-RADS 4", "DENSITY C", f.categories, f.birads),
                *(f.box or ("", "", "", "")),
                f.split,
            )
            for f in findings
        )
    with (release / "breast-level_annotations.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow((*BREAST, "split"))
        table.writerows(
            (f[0].study, f"{f[0].study}-s", image, f[0].side, f[0].view, *SHAPE, "", "", f[0].split)
            for image, f in by_image.items()
        )
    return release


def _disc(box: tuple[float, ...]) -> tuple[float, float, float]:
    left, top, right, bottom = box
    return (top + bottom) / 2, (left + right) / 2, (bottom - top) / 2
