"""CDD-CESM: ROIs of every drawn shape, the table's classes, and its stray blanks."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from kit.cdd_cesm import IMAGES, Image, make_cdd_cesm
from kit.fuzz import outcomes
from kit.lesion import offset
from PIL import Image as Picture

from mtl_jax.data import ingest
from mtl_jax.data.sources import cdd_cesm, via
from mtl_jax.imaging.read_image import read_image
from mtl_jax.types import Collection, InputError

PLAIN = {"correct": False, "along_mm": 3.2, "depth_mm": 1.6}
ROIS = "Radiology_hand_drawn_segmentations_v2.csv"


def read(folder: Path, *findings: str, pixel_um: float | None = 100.0) -> Collection:
    return cdd_cesm.read_collection(str(folder), findings=findings or ("mass",), pixel_um=pixel_um)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed by a test."""
    return make_cdd_cesm(tmp_path_factory.mktemp("cesm"))


def test_rois_classes_and_reasons(made: Path) -> None:
    found = read(made)
    assert [(view.lesion_id, view.view, view.laterality, view.label) for view in found.views] == [
        ("P1_L_DM_CC-1", "CC", "L", 1),
        ("P1_L_DM_MLO-1", "MLO", "L", 1),
        ("P2_R_DM_MLO-1", "MLO", "R", 0),
        ("P2_R_DM_MLO-3", "MLO", "R", 0),
        ("P4_L_DM_CC-1", "CC", "L", 0),
    ]
    assert [view.case_id for view in found.views] == ["P1", "P1", "P2", "P2", "P4"]
    assert [view.truth_source for view in found.views] == ["biopsy"] * 2 + ["followup"] * 3
    assert [view.box for view in found.views] == [
        *((160, 110, 240, 190), (230, 135, 290, 225), (305, 185, 355, 235)),
        *((100, 80, 140, 120), (140, 100, 220, 160)),
    ]
    assert {view.bits for view in found.views} == {8}
    assert dict(found.left_out) == {
        "P1_L_CM_CC-1": "subtracted image",
        "P2_R_DM_MLO-2": "a point, not outlined",
        "P2_R_DM_CC-1": "findings calcifications, none of them chosen",
        "P3_R_DM_CC-1": "pathology normal",
        "P3_L_DM_CC": "no ROI drawn",
    }
    rois = sum(max(len(image.rois), 1) for image in IMAGES)
    assert len(found.views) + len(found.left_out) == rois
    assert any("1 lesion views are in images with other findings" in d for d in found.decisions)


def test_other_findings_and_all(made: Path) -> None:
    chosen = read(made, "Calc")
    assert [view.lesion_id for view in chosen.views] == ["P1_L_DM_MLO-1", "P2_R_DM_CC-1"]
    everything = cdd_cesm.read_collection(str(made), findings=(), pixel_um=100.0)
    assert len(everything.views) == 6


@pytest.mark.parametrize("pixel_um", [None, 0.0, -70.0, 300.0, math.nan])
def test_without_a_pixel_size_it_says_what_is_needed(made: Path, pixel_um: float | None) -> None:
    with pytest.raises(InputError, match="set config.data.cdd_cesm.pixel_um"):
        read(made, pixel_um=pixel_um)


@pytest.mark.parametrize("pixel_um", [70.0, 94.1, 100.0])
def test_a_lesion_lands_in_the_middle_of_its_roi(
    made: Path, tmp_path: Path, pixel_um: float
) -> None:
    options = {"cdd_cesm": {"findings": ("mass",), "pixel_um": pixel_um}}
    rois = ingest.load(f"cdd_cesm:{made}", tmp_path / "cache", PLAIN, options)
    assert len(rois) == 5
    for roi in np.concatenate(rois.shards)[:, 42:86, 42:86]:
        assert offset(roi) < 1


def test_the_tables_in_other_places_and_formats(tmp_path: Path, made: Path) -> None:
    before = read(made)
    make_cdd_cesm(tmp_path)
    (tmp_path / "Radiology-manual-annotations.xlsx").rename(
        tmp_path / "PKG - CDD-CESM" / "Radiology manual annotations.xlsx"
    )
    strip = [view.lesion_id for view in before.views]
    assert [view.lesion_id for view in read(tmp_path).views] == strip
    (tmp_path / "PKG - CDD-CESM" / "Radiology manual annotations.xlsx").unlink()
    with pytest.raises(InputError, match="no table named like radiologymanualannotations.xlsx or"):
        read(tmp_path)
    rows = [(image.name, image.findings, image.pathology) for image in IMAGES]
    with (tmp_path / "Radiology_manual_annotations.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("Image_name", "Findings", "Pathology Classification/ Follow up"))
        table.writerows(rows)
    assert [view.lesion_id for view in read(tmp_path).views] == strip


def test_tables_and_images_that_lack_each_other(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path)
    images = tmp_path / "PKG - CDD-CESM/CDD-CESM/Low energy images of CDD-CESM"
    (images / "P1_L_DM_CC.jpg").unlink()
    (images / "P4_L_DM_CC.jpg").rename(images / "P5_L_DM_CC.jpg")
    with (tmp_path / ROIS).open("a", newline="") as file:
        circle = json.dumps({"name": "circle", "cx": 9, "cy": 9, "r": 4})
        csv.writer(file).writerow(("P9_L_DM_CC.jpg", 1, "{}", 1, 0, circle, "{}"))
        csv.writer(file).writerow(("scan.jpg", 1, "{}", 1, 0, circle, "{}"))
        csv.writer(file).writerow(("P3_L_DM_CC.jpg", 1, "{}", 0, 0, "{}", "{}"))
    left_out = dict(read(tmp_path).left_out)
    assert left_out["P1_L_DM_CC-1"] == left_out["P4_L_DM_CC-1"] == "image is not in the folder"
    assert left_out["P5_L_DM_CC"] == "image without a row in the table"
    assert left_out["P9_L_DM_CC-1"] == "no row in the table"
    assert left_out["SCAN-1"] == "not named P1_L_DM_CC and the like"
    assert left_out["P3_L_DM_CC-1"] == "pathology normal"


def test_an_image_with_two_pathologies_is_left_out(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, [*IMAGES[:1], IMAGES[0]._replace(pathology="Benign", rois=())])
    assert dict(read(tmp_path).left_out) == {
        "P1_L_DM_CC-1": "pathology stated twice and differently"
    }


def test_two_rows_of_an_image_give_it_both_findings(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, [IMAGES[0], IMAGES[0]._replace(findings="Calcifications", rois=())])
    noted = "two rows of the image differ in Findings"
    for finding in ("mass", "calc"):
        assert [view.noted for view in read(tmp_path, finding).views] == [noted]


SHAPES = {
    "rect": ({"x": 10, "y": 20, "width": 30, "height": 40}, (20, 10, 60, 40)),
    "circle": ({"cx": 50, "cy": 60, "r": 7.5}, (52.5, 42.5, 67.5, 57.5)),
    "ellipse": ({"cx": 50, "cy": 60, "rx": 10, "ry": 20}, (40, 40, 80, 60)),
    "polygon": ({"all_points_x": [1, 5, 3], "all_points_y": [2, 2, 9]}, (2, 1, 9, 5)),
    "polyline": ({"all_points_x": [1, 5, 3], "all_points_y": [2, 2, 9]}, (2, 1, 9, 5)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_box_around_a_shape(shape: str) -> None:
    attributes, box = SHAPES[shape]
    assert via.parse_box(json.dumps({"name": shape, **attributes})) == box


def test_the_box_around_a_turned_ellipse_touches_its_outline() -> None:
    theta = 0.7
    attributes = {"name": "ellipse", "cx": 0, "cy": 0, "rx": 30, "ry": 10, "theta": theta}
    t = np.linspace(0, 2 * np.pi, 100_001)
    columns = 30 * np.cos(t) * np.cos(theta) - 10 * np.sin(t) * np.sin(theta)
    rows = 30 * np.cos(t) * np.sin(theta) + 10 * np.sin(t) * np.cos(theta)
    expected = (rows.min(), columns.min(), rows.max(), columns.max())
    assert via.parse_box(json.dumps(attributes)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("{", "Expecting"),
        ("[1]", "not an object"),
        ('{"name": "cloud"}', "shape 'cloud' is none of rect"),
        ('{"name": "circle", "cx": 1, "cy": 2}', "r 'None' is no coordinate"),
        ('{"name": "circle", "cx": NaN, "cy": 2, "r": 3}', "cx 'nan' is no coordinate"),
        ('{"name": "circle", "cx": true, "cy": 2, "r": 3}', "cx 'True' is no coordinate"),
        ('{"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}', "3 columns and"),
        ('{"name": "polygon", "all_points_x": 7, "all_points_y": [1, 2]}', "no list all_points_x"),
        ("[" * 100_000, ""),
        ('{"name": "rect", "x": ' + "9" * 1000 + "}", "x '999"),
    ],
)
def test_a_damaged_roi_is_one_line_that_names_row_and_column(
    tmp_path: Path, cell: str, reason: str
) -> None:
    make_cdd_cesm(tmp_path, IMAGES[:1])
    with (tmp_path / ROIS).open("a", newline="") as file:
        csv.writer(file).writerow(("P1_L_DM_CC.jpg", 1, "{}", 1, 0, cell, "{}"))
    where = f"{ROIS} line 3: region_shape_attributes: "
    with pytest.raises(InputError, match=re.escape(where) + ".*" + re.escape(reason)) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (IMAGES[0]._replace(pathology="Maybe"), "row 2: Pathology Classification/ Follow up: 'May"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, image: Image, reason: str) -> None:
    make_cdd_cesm(tmp_path, IMAGES[2:4])
    path = tmp_path / "Radiology-manual-annotations.xlsx"
    book = openpyxl.load_workbook(path)
    page = book["all"]
    page.cell(2, 1).value, page.cell(2, 12).value = image.name, image.pathology
    book.save(path)
    with pytest.raises(InputError, match=re.escape(reason)):
        read(tmp_path)


def test_a_row_that_names_no_image_is_left_out(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, [IMAGES[0], IMAGES[0]._replace(name="P30 scan")])
    found = read(tmp_path)
    assert [view.lesion_id for view in found.views] == ["P1_L_DM_CC-1"]
    assert ("P30 scan", "not named P1_L_DM_CC and the like") in found.left_out


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("P99_L_DM_MLO_2", "MLO"),
        ("P281_L_DM_MLO2", "MLO"),
        ("P7_R_DM_CC_11", "CC"),
        ("P0412_R_DM_XCCL3", "XCCL"),
        ("P5_L_DM_ML", "ML"),
    ],
)
def test_a_view_taken_twice_keeps_its_view(tmp_path: Path, name: str, view: str) -> None:
    make_cdd_cesm(tmp_path, [IMAGES[0], IMAGES[0]._replace(name=name)])
    found = read(tmp_path).views
    assert [one.lesion_id for one in found] == ["P1_L_DM_CC-1", f"{name}-1"]
    assert (found[1].view, found[1].laterality) == (view, name.split("_")[1])
    assert found[1].case_id == name.split("_")[0]


def test_a_roi_drawn_twice_is_one_lesion(tmp_path: Path) -> None:
    image = IMAGES[0]
    make_cdd_cesm(tmp_path, [image._replace(rois=(image.rois[0],) * 2)])
    found = read(tmp_path)
    assert [view.lesion_id for view in found.views] == ["P1_L_DM_CC-1"]
    assert found.left_out == (("P1_L_DM_CC-2", "the same ROI of the same image is drawn above"),)


def write_table(folder: Path, header: tuple[str, ...], *rows: tuple[str, ...]) -> None:
    (folder / "Radiology-manual-annotations.xlsx").unlink()
    with (folder / "Radiology-manual-annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows((header, *rows))


def test_columns_that_contradict_the_name_are_noted(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, IMAGES[:1])
    header = ("Image_name", "Patient_ID", "Side", "View", "Findings", cdd_cesm.PATHOLOGY)
    for cells, noted in (
        (("1", "L", "CC"), ""),
        (("P1", "", ""), ""),
        (("1", "R", "CC"), "the image's name and the column Side differ"),
        (
            ("2", "L", "MLO"),
            "the image's name and the column Patient_ID differ;"
            " the image's name and the column View differ",
        ),
    ):
        if (tmp_path / "Radiology-manual-annotations.csv").exists():
            (tmp_path / "Radiology-manual-annotations.xlsx").touch()
        write_table(tmp_path, header, ("P1_L_DM_CC", *cells, "mass", "Malignant"))
        (view,) = read(tmp_path).views
        assert (view.laterality, view.view, view.noted, view.note) == ("L", "CC", noted, "")


def test_all_faults_of_a_table_are_in_one_message(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, IMAGES[:1])
    header = ("Image_name", "Findings", cdd_cesm.PATHOLOGY)
    rows = [(f"P{n}_L_DM_CC", "mass", "Maybe" if n % 2 else "Benign") for n in range(1, 25)]
    write_table(tmp_path, header, *rows, ("P30_L_DM_CC", "mass", "Benign", "and more"))
    with pytest.raises(
        InputError, match=r"annotations.csv: 13 faults: \(1\) line 2: .*\(10\) line"
    ):
        read(tmp_path)


def test_both_genuine_tables_are_read_whole(shared: Path, tmp_path: Path) -> None:
    """Counts by a reading of their own; the images are empty files, as no pixel is read."""
    real = shared / "data" / "cdd_cesm_dm"
    for name in ("Radiology-manual-annotations.csv", ROIS):
        (tmp_path / name).symlink_to(real / name)
    with (real / "Radiology-manual-annotations.csv").open(encoding="utf-8-sig") as file:
        rows = {row["Image_name"].strip(): row for row in csv.DictReader(file)}
    with (real / ROIS).open(encoding="utf-8-sig") as file:
        rois = list(csv.DictReader(file))
    assert (len(rows), len(rois)) == (2006, 2971)
    images = tmp_path / "Low energy images of CDD-CESM"
    images.mkdir()
    low_energy = [name for name, row in rows.items() if row["Type"] == "DM"]
    for name in low_energy:
        (images / f"{name}.jpg").touch()
    found = cdd_cesm.read_collection(str(tmp_path), findings=(), pixel_um=100.0)
    drawn = [(re.sub(r"\.jpg\s*$", "", one["#filename"]).strip(), one) for one in rois]
    taken = {
        (name, one["region_shape_attributes"])
        for name, one in drawn
        if rows[name]["Type"] == "DM"
        and rows[name]["Pathology Classification/ Follow up"] in ("Malignant", "Benign")
        and '"point"' not in one["region_shape_attributes"]
    }
    assert len(found.views) == len(taken)
    assert {view.image_path.stem for view in found.views} == {name for name, _ in taken}
    assert {view.noted for view in found.views} == {""}
    undrawn = set(rows) - {name for name, _ in drawn}
    assert len(found.views) + len(found.left_out) == len(rois) + len(undrawn)
    reasons = {reason for _, reason in found.left_out}
    assert "not named P1_L_DM_CC and the like" not in reasons
    assert "no row in the table" not in reasons
    for name in ("P99_L_DM_MLO_2", "P281_L_DM_MLO2"):
        assert {v.view for v in found.views if v.image_path.stem == name} <= {"MLO"}
        assert any(item.startswith(name) for item, _ in found.left_out) or any(
            view.image_path.stem == name for view in found.views
        )


def test_jpeg_of_equal_channels_is_gray_and_colour_is_rejected(tmp_path: Path) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (40, 30)).astype(np.uint8)
    Picture.fromarray(gray).save(tmp_path / "gray.jpg", quality=95)
    expected = np.asarray(Picture.open(tmp_path / "gray.jpg"))
    Picture.fromarray(np.stack([gray] * 3, 2)).save(
        tmp_path / "equal.jpeg", quality=95, subsampling=0
    )
    Picture.fromarray(np.stack([gray, gray, gray // 2], 2)).save(tmp_path / "colour.jpg")
    Picture.fromarray(gray).save(tmp_path / "png.jpg", format="PNG")
    Picture.new("CMYK", (9, 9)).save(tmp_path / "cmyk.jpg")
    stored, bits = read_image(tmp_path / "gray.jpg")
    assert bits == 8
    assert (stored == expected).all()
    assert np.abs(read_image(tmp_path / "equal.jpeg")[0] - expected).max() <= 1
    for name in ("colour.jpg", "cmyk.jpg"):
        with pytest.raises(InputError, match=f"{name}: colour"):
            read_image(tmp_path / name)
    with pytest.raises(InputError, match="png.jpg: cannot be read"):
        read_image(tmp_path / "png.jpg")


def fuzz(folder: Path, count: int) -> None:
    make_cdd_cesm(folder, IMAGES[:2])
    found = outcomes(folder / ROIS, count, 1, lambda: read(folder))
    assert found["rejected"] > count / 20
    book = folder / "Radiology-manual-annotations.xlsx"
    outcomes(book, count // 4, 2, lambda: read(folder))


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_damaged_files_never_end_in_a_traceback_at_length(tmp_path: Path) -> None:
    fuzz(tmp_path, 3000)
