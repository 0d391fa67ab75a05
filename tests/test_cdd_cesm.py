"""Test the CDD-CESM reader: ROIs of every shape, classes of the table, stray blanks."""

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
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import Collection, InputError

PLAIN = RoiSettings(correct=False)
ROIS = "Radiology_hand_drawn_segmentations_v2.csv"


def read_collection(folder: Path, *findings: str, pixel_um: float | None = 100.0) -> Collection:
    return cdd_cesm.read_collection(str(folder), findings=findings or ("mass",), pixel_um=pixel_um)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset that no test changes."""
    return make_cdd_cesm(tmp_path_factory.mktemp("cesm"))


def test_rois_classes_and_reasons(dataset: Path) -> None:
    collection = read_collection(dataset)
    assert [
        (view.lesion_id, view.view, view.laterality, view.label) for view in collection.views
    ] == [
        ("P1_L_DM_CC-1", "CC", "L", 1),
        ("P1_L_DM_MLO-1", "MLO", "L", 1),
        ("P2_R_DM_MLO-1", "MLO", "R", 0),
        ("P2_R_DM_MLO-3", "MLO", "R", 0),
        ("P4_L_DM_CC-1", "CC", "L", 0),
    ]
    assert [view.case_id for view in collection.views] == ["P1", "P1", "P2", "P2", "P4"]
    assert [view.truth_source for view in collection.views] == ["biopsy"] * 2 + ["followup"] * 3
    assert [view.box for view in collection.views] == [
        *((160, 110, 240, 190), (230, 135, 290, 225), (305, 185, 355, 235)),
        *((100, 80, 140, 120), (140, 100, 220, 160)),
    ]
    assert {view.bits for view in collection.views} == {8}
    assert dict(collection.left_out) == {
        "P1_L_CM_CC-1": "subtracted image",
        "P2_R_DM_MLO-2": "a point, not outlined",
        "P2_R_DM_CC-1": "findings calcifications, none of them chosen",
        "P3_R_DM_CC-1": "pathology normal",
        "P3_L_DM_CC": "no ROI drawn",
    }
    rois = sum(max(len(image.rois), 1) for image in IMAGES)
    assert len(collection.views) + len(collection.left_out) == rois
    assert any(
        "1 lesion views are in images with other findings" in d for d in collection.decisions
    )


def test_findings_are_selected_by_their_beginning(dataset: Path) -> None:
    calcifications = read_collection(dataset, "Calc")
    assert [view.lesion_id for view in calcifications.views] == ["P1_L_DM_MLO-1", "P2_R_DM_CC-1"]
    everything = cdd_cesm.read_collection(str(dataset), findings=(), pixel_um=100.0)
    assert len(everything.views) == 6


@pytest.mark.parametrize("pixel_um", [None, 0.0, -70.0, 300.0, math.nan])
def test_a_missing_pixel_size_is_rejected(dataset: Path, pixel_um: float | None) -> None:
    with pytest.raises(InputError, match="set config.data.cdd_cesm.pixel_um"):
        read_collection(dataset, pixel_um=pixel_um)


@pytest.mark.parametrize("pixel_um", [70.0, 94.1, 100.0])
def test_a_lesion_is_in_the_middle_of_its_roi(
    dataset: Path, tmp_path: Path, pixel_um: float
) -> None:
    options = {"cdd_cesm": {"findings": ("mass",), "pixel_um": pixel_um}}
    rois = ingest.load(f"cdd_cesm:{dataset}", tmp_path / "cache", PLAIN, options)
    assert len(rois) == 5
    for roi in np.concatenate(rois.shards)[:, 42:86, 42:86]:
        assert offset(roi) < 1


def test_tables_in_other_folders_and_formats(tmp_path: Path, dataset: Path) -> None:
    before = read_collection(dataset)
    make_cdd_cesm(tmp_path)
    (tmp_path / "Radiology-manual-annotations.xlsx").rename(
        tmp_path / "PKG - CDD-CESM" / "Radiology manual annotations.xlsx"
    )
    lesion_ids = [view.lesion_id for view in before.views]
    assert [view.lesion_id for view in read_collection(tmp_path).views] == lesion_ids
    (tmp_path / "PKG - CDD-CESM" / "Radiology manual annotations.xlsx").unlink()
    with pytest.raises(InputError, match="no table named like radiologymanualannotations.xlsx or"):
        read_collection(tmp_path)
    rows = [(image.name, image.findings, image.pathology) for image in IMAGES]
    with (tmp_path / "Radiology_manual_annotations.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("Image_name", "Findings", "Pathology Classification/ Follow up"))
        table.writerows(rows)
    assert [view.lesion_id for view in read_collection(tmp_path).views] == lesion_ids


def test_rows_without_images_and_images_without_rows_are_left_out(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path)
    images = tmp_path / "PKG - CDD-CESM/CDD-CESM/Low energy images of CDD-CESM"
    (images / "P1_L_DM_CC.jpg").unlink()
    (images / "P4_L_DM_CC.jpg").rename(images / "P5_L_DM_CC.jpg")
    with (tmp_path / ROIS).open("a", newline="") as file:
        circle = json.dumps({"name": "circle", "cx": 9, "cy": 9, "r": 4})
        csv.writer(file).writerow(("P9_L_DM_CC.jpg", 1, "{}", 1, 0, circle, "{}"))
        csv.writer(file).writerow(("scan.jpg", 1, "{}", 1, 0, circle, "{}"))
        csv.writer(file).writerow(("P3_L_DM_CC.jpg", 1, "{}", 0, 0, "{}", "{}"))
    left_out = dict(read_collection(tmp_path).left_out)
    assert left_out["P1_L_DM_CC-1"] == left_out["P4_L_DM_CC-1"] == "image is not in the folder"
    assert left_out["P5_L_DM_CC"] == "image without a row in the table"
    assert left_out["P9_L_DM_CC-1"] == "no row in the table"
    assert left_out["SCAN-1"] == "its name does not have the form P1_L_DM_CC"
    assert left_out["P3_L_DM_CC-1"] == "pathology normal"


def test_an_image_with_two_pathologies_is_left_out(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, [*IMAGES[:1], IMAGES[0]._replace(pathology="Benign", rois=())])
    assert dict(read_collection(tmp_path).left_out) == {
        "P1_L_DM_CC-1": "pathology differs between two rows"
    }


def test_an_image_has_the_findings_of_its_two_rows(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, [IMAGES[0], IMAGES[0]._replace(findings="Calcifications", rois=())])
    note = "two rows of the image differ in Findings"
    for finding in ("mass", "calc"):
        assert [view.noted for view in read_collection(tmp_path, finding).views] == [note]


SHAPES = {
    "rect": ({"x": 10, "y": 20, "width": 30, "height": 40}, (20, 10, 60, 40)),
    "circle": ({"cx": 50, "cy": 60, "r": 7.5}, (52.5, 42.5, 67.5, 57.5)),
    "ellipse": ({"cx": 50, "cy": 60, "rx": 10, "ry": 20}, (40, 40, 80, 60)),
    "polygon": ({"all_points_x": [1, 5, 3], "all_points_y": [2, 2, 9]}, (2, 1, 9, 5)),
    "polyline": ({"all_points_x": [1, 5, 3], "all_points_y": [2, 2, 9]}, (2, 1, 9, 5)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_box_of_each_shape(shape: str) -> None:
    attributes, box = SHAPES[shape]
    assert via.parse_box(json.dumps({"name": shape, **attributes})) == box


def test_box_of_a_rotated_ellipse_touches_its_outline() -> None:
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
        ("[1]", "not a JSON object"),
        ('{"name": "cloud"}', "shape 'cloud' is invalid: expected rect"),
        ('{"name": "circle", "cx": 1, "cy": 2}', "r 'None' is invalid: expected a coordinate"),
        ('{"name": "circle", "cx": NaN, "cy": 2, "r": 3}', "cx 'nan' is invalid"),
        ('{"name": "circle", "cx": true, "cy": 2, "r": 3}', "cx 'True' is invalid"),
        ('{"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}', "3 columns and"),
        (
            '{"name": "polygon", "all_points_x": 7, "all_points_y": [1, 2]}',
            "all_points_x is invalid: expected a list",
        ),
        ("[" * 100_000, ""),
        ('{"name": "rect", "x": ' + "9" * 1000 + "}", "x '999"),
    ],
)
def test_the_error_of_a_damaged_roi_names_line_and_column(
    tmp_path: Path, cell: str, reason: str
) -> None:
    make_cdd_cesm(tmp_path, IMAGES[:1])
    with (tmp_path / ROIS).open("a", newline="") as file:
        csv.writer(file).writerow(("P1_L_DM_CC.jpg", 1, "{}", 1, 0, cell, "{}"))
    where = f"{ROIS} line 3: region_shape_attributes: "
    with pytest.raises(InputError, match=re.escape(where) + ".*" + re.escape(reason)) as caught:
        read_collection(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (IMAGES[0]._replace(pathology="Maybe"), "row 2: Pathology Classification/ Follow up: 'May"),
    ],
)
def test_the_error_of_a_damaged_table_names_the_row(
    tmp_path: Path, image: Image, reason: str
) -> None:
    make_cdd_cesm(tmp_path, IMAGES[2:4])
    path = tmp_path / "Radiology-manual-annotations.xlsx"
    book = openpyxl.load_workbook(path)
    page = book["all"]
    page.cell(2, 1).value, page.cell(2, 12).value = image.name, image.pathology
    book.save(path)
    with pytest.raises(InputError, match=re.escape(reason)):
        read_collection(tmp_path)


def test_a_row_with_an_invalid_image_name_is_left_out(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, [IMAGES[0], IMAGES[0]._replace(name="P30 scan")])
    collection = read_collection(tmp_path)
    assert [view.lesion_id for view in collection.views] == ["P1_L_DM_CC-1"]
    assert ("P30 scan", "its name does not have the form P1_L_DM_CC") in collection.left_out


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
def test_a_repeated_view_keeps_its_view(tmp_path: Path, name: str, view: str) -> None:
    make_cdd_cesm(tmp_path, [IMAGES[0], IMAGES[0]._replace(name=name)])
    first, second = read_collection(tmp_path).views
    assert (first.lesion_id, second.lesion_id) == ("P1_L_DM_CC-1", f"{name}-1")
    assert (second.view, second.laterality) == (view, name.split("_")[1])
    assert second.case_id == name.split("_")[0]


def test_a_roi_drawn_twice_is_one_lesion(tmp_path: Path) -> None:
    image = IMAGES[0]
    make_cdd_cesm(tmp_path, [image._replace(rois=(image.rois[0],) * 2)])
    collection = read_collection(tmp_path)
    assert [view.lesion_id for view in collection.views] == ["P1_L_DM_CC-1"]
    assert collection.left_out == (("P1_L_DM_CC-2", "duplicate of an earlier ROI of the image"),)


def write_table(folder: Path, header: tuple[str, ...], *rows: tuple[str, ...]) -> None:
    (folder / "Radiology-manual-annotations.xlsx").unlink()
    with (folder / "Radiology-manual-annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows((header, *rows))


def test_columns_that_contradict_the_name_are_noted(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, IMAGES[:1])
    header = ("Image_name", "Patient_ID", "Side", "View", "Findings", cdd_cesm.PATHOLOGY)
    for cells, note in (
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
        (view,) = read_collection(tmp_path).views
        assert (view.laterality, view.view, view.noted, view.note) == ("L", "CC", note, "")


def test_one_message_lists_all_errors_of_a_table(tmp_path: Path) -> None:
    make_cdd_cesm(tmp_path, IMAGES[:1])
    header = ("Image_name", "Findings", cdd_cesm.PATHOLOGY)
    rows = [(f"P{n}_L_DM_CC", "mass", "Maybe" if n % 2 else "Benign") for n in range(1, 25)]
    write_table(tmp_path, header, *rows, ("P30_L_DM_CC", "mass", "Benign", "and more"))
    with pytest.raises(
        InputError, match=r"annotations.csv: 13 errors: \(1\) line 2: .*\(10\) line"
    ):
        read_collection(tmp_path)


def test_every_row_of_the_real_tables_is_listed(shared: Path, tmp_path: Path) -> None:
    """Expected counts come from the csv module; the images are empty, as no pixel is read."""
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
    collection = cdd_cesm.read_collection(str(tmp_path), findings=(), pixel_um=100.0)
    named_rois = [(re.sub(r"\.jpg\s*$", "", roi["#filename"]).strip(), roi) for roi in rois]
    expected_rois = {
        (name, roi["region_shape_attributes"])
        for name, roi in named_rois
        if rows[name]["Type"] == "DM"
        and rows[name]["Pathology Classification/ Follow up"] in ("Malignant", "Benign")
        and '"point"' not in roi["region_shape_attributes"]
    }
    assert len(collection.views) == len(expected_rois)
    assert {view.image_path.stem for view in collection.views} == {
        name for name, _ in expected_rois
    }
    assert {view.noted for view in collection.views} == {""}
    without_roi = set(rows) - {name for name, _ in named_rois}
    assert len(collection.views) + len(collection.left_out) == len(rois) + len(without_roi)
    reasons = {reason for _, reason in collection.left_out}
    assert "its name does not have the form P1_L_DM_CC" not in reasons
    assert "no row in the table" not in reasons
    for name in ("P99_L_DM_MLO_2", "P281_L_DM_MLO2"):
        assert {v.view for v in collection.views if v.image_path.stem == name} <= {"MLO"}
        assert any(item.startswith(name) for item, _ in collection.left_out) or any(
            view.image_path.stem == name for view in collection.views
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
    counts = outcomes(folder / ROIS, count, 1, lambda: read_collection(folder))
    assert counts["rejected"] > count / 20
    book = folder / "Radiology-manual-annotations.xlsx"
    outcomes(book, count // 4, 2, lambda: read_collection(folder))


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_many_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 3000)
