"""Test spacing, laterality and view of DICOM headers, privacy, and tools/inspect_dicom.py."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from kit.dicom import for_processing, view_code, write_dicom
from PIL import Image
from pydicom import Sequence
from pydicom.dataset import Dataset

from mtl_jax.imaging import dicom, dicom_fields, dicom_header, dicom_spacing, dicom_view
from mtl_jax.imaging.dicom_header import LATERALITIES_DIFFER, VIEW_UNKNOWN
from mtl_jax.imaging.table_vs_header import NOT_SQUARE
from mtl_jax.types import InputError

NOISE = np.random.default_rng(0).integers(0, 4096, (33, 47))
TOOL = Path(__file__).resolve().parents[1] / "tools" / "inspect_dicom.py"
Tags = dict[str, Any]


RIGHT_FRAME = ("R", "FrameLaterality")


def make_header(path: Path, **tags: Any) -> Dataset:
    return dicom_fields.read_dataset(write_dicom(path, NOISE, **tags))


def make_item(**tags: Any) -> Sequence:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return Sequence([dataset])


def view_with_modifiers(*codes: tuple[str, str]) -> Sequence:
    view = view_code("R-10242", "SNM3", "cranio-caudal")
    view[0].ViewModifierCodeSequence = Sequence(
        [view_code(value, scheme, "x")[0] for value, scheme in codes]
    )
    return view


IMAGER, PIXEL, NOMINAL = ["0.07", "0.08"], ["0.05", "0.06"], ["0.2", "0.2"]
GROUPS = {
    "PixelMeasuresSequence": make_item(PixelSpacing=["0.09", "0.1"]),
    "FrameAnatomySequence": make_item(FrameLaterality="R"),
}
SHARED, PER_FRAME = make_item(**GROUPS), make_item(**GROUPS)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, None),
        ({"NominalScannedPixelSpacing": NOMINAL}, ((200, 200), "NominalScannedPixelSpacing")),
        (
            {"NominalScannedPixelSpacing": ["0.053", "0.063"], "PixelSpacing": PIXEL},
            ((50, 60), "PixelSpacing"),
        ),
        (
            # In the detector plane, not divided by the magnification.
            {
                "PixelSpacing": ["0.0654", "0.0748"],
                "ImagerPixelSpacing": IMAGER,
                "EstimatedRadiographicMagnificationFactor": "1.07",
            },
            ((70, 80), "ImagerPixelSpacing"),
        ),
        ({"SharedFunctionalGroupsSequence": SHARED}, ((90, 100), "PixelMeasuresSequence")),
        ({"PerFrameFunctionalGroupsSequence": PER_FRAME}, ((90, 100), "PixelMeasuresSequence")),
    ],
)
def test_spacing_order_and_source(tmp_path: Path, tags: Tags, expected: Any) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, **tags)
    found, record = dicom.read_spacing(path), dicom.read_with_record(path)[2]
    if expected is None:
        assert found is None and record["spacing_um"] is None and record["spacing_source"] == ""
    else:
        assert found[0] == pytest.approx(expected[0]) and found[1] == expected[1]
        assert tuple(record["spacing_um"]) == found[0] and record["spacing_source"] == found[1]


@pytest.mark.parametrize("size", [["0", "0.1"], ["-1", "0.1"], ["0.1"], ["0.1", "0.1", "0.1"]])
def test_an_implausible_spacing_is_rejected_only_where_it_is_used(
    tmp_path: Path, size: list[str]
) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, PixelSpacing=size)
    with pytest.raises(InputError, match="a.dcm: .*PixelSpacing"):
        dicom.read_spacing(path)
    gray, _, record = dicom.read_with_record(path)
    np.testing.assert_array_equal(gray, NOISE)
    assert record["spacing_um"] is None and "PixelSpacing" in record["notes"][0]


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("a.dcm", {"ImageLaterality": "L", "Laterality": "R"}, ("L", "ImageLaterality")),
        ("a.dcm", {"Laterality": "R"}, ("R", "Laterality")),
        ("a.dcm", {"ImageLaterality": "B"}, ("", "")),
        ("a.dcm", {"SharedFunctionalGroupsSequence": SHARED}, ("R", "FrameLaterality")),
        ("a.dcm", {"Laterality": "R", "ImageLaterality": "U"}, ("R", "Laterality")),
        ("a.dcm", {"Laterality": "L", "SharedFunctionalGroupsSequence": SHARED}, RIGHT_FRAME),
        ("a.dcm", {"PerFrameFunctionalGroupsSequence": PER_FRAME}, RIGHT_FRAME),
        ("22_6c_MG_R_CC_ANON.dcm", {}, ("R", "file name")),
        ("C_0001_1.LEFT_MLO.dcm", {}, ("L", "file name")),
        ("RML.dcm", {}, ("R", "file name")),
        ("MAMMAL.dcm", {}, ("", "")),
    ],
)
def test_laterality_from_every_source(
    tmp_path: Path, name: str, tags: Tags, expected: tuple[str, str]
) -> None:
    assert dicom_header.get_laterality(make_header(tmp_path / name, **tags)) == expected


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("a.dcm", {"ViewPosition": "MLO"}, ("MLO", "ViewPosition")),
        ("a.dcm", {"ViewCodeSequence": ("399162004", "SCT")}, ("CC", "ViewCodeSequence")),
        ("a.dcm", {"ViewCodeSequence": ("R-10242", "SNM3")}, ("CC", "ViewCodeSequence")),
        ("a.dcm", {"ViewCodeSequence": ("399368009", "SCT")}, ("MLO", "ViewCodeSequence")),
        ("a.dcm", {"ViewCodeSequence": ("R-10226", "SRT")}, ("MLO", "ViewCodeSequence")),
        ("a.dcm", {"ViewCodeSequence": ("R-10224", "SRT")}, ("ML", "ViewCodeSequence")),
        ("a.dcm", {"ViewCodeSequence": ("Y-X1770", "SNM3")}, ("XCCL", "ViewCodeSequence")),
        ("a.dcm", {"ViewCodeSequence": ("T-04000", "SRT")}, ("", "")),
        ("a.dcm", {"PatientOrientation": "CC"}, ("CC", "PatientOrientation")),
        ("22_6c_MG_R_CC_ANON.dcm", {"ViewPosition": "OBSCURE"}, ("CC", "file name")),
        ("C_0001_1.LEFT_MLO.dcm", {}, ("MLO", "file name")),
        ("accent.dcm", {}, ("", "")),
    ],
)
def test_view_from_every_source_and_code_scheme(
    tmp_path: Path, name: str, tags: Tags, expected: tuple[str, str]
) -> None:
    if "ViewCodeSequence" in tags:
        tags = {"ViewCodeSequence": view_code(*tags["ViewCodeSequence"], "meaning")}
    assert dicom_header.get_view(make_header(tmp_path / name, **tags)) == expected


@pytest.mark.parametrize(
    ("tags", "magnified"),
    [
        ({}, False),
        ({"EstimatedRadiographicMagnificationFactor": "1.08"}, False),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, True),
        ({"ViewCodeSequence": view_with_modifiers(("R-102D6", "SRT"))}, True),
        (
            {"ViewCodeSequence": view_with_modifiers(("399055006", "SCT"), ("399163009", "SCT"))},
            True,
        ),
        ({"ViewCodeSequence": view_with_modifiers(("399055006", "SCT"))}, False),
    ],
)
def test_magnification_views_are_flagged(tmp_path: Path, tags: Tags, magnified: bool) -> None:
    dataset = make_header(tmp_path / "a.dcm", **tags)
    assert dicom_spacing.is_magnified(dataset) is magnified
    record = dicom.read_with_record(tmp_path / "a.dcm")[2]
    assert record["magnified"] is magnified
    assert any("magnification" in note for note in record["notes"]) is magnified


def test_view_modifiers_are_named(tmp_path: Path) -> None:
    dataset = make_header(
        tmp_path / "a.dcm",
        ViewCodeSequence=view_with_modifiers(("R-102D7", "SRT"), ("399209000", "SCT")),
    )
    assert dicom_view.get_view_modifiers(dataset) == ("spot compression", "implant displaced")


MAG = "magnification"
MAGNIFIED = view_code("399163009", "SCT", "Magnification")
SPOT = view_code("R-102D7", "SRT", "spot")


def test_modifiers_outside_the_view_code_are_read_too(tmp_path: Path) -> None:
    for tags, expected in (
        ({"ViewModifierCodeSequence": MAGNIFIED}, ("magnification",)),
        ({"ViewModifierCodeSequence": SPOT, "ViewPosition": "MCC"}, ("spot compression", MAG)),
        (
            {
                "ViewModifierCodeSequence": MAGNIFIED,
                "ViewCodeSequence": view_with_modifiers(("R-102D7", "SRT")),
            },
            ("spot compression", MAG),
        ),
        (
            {
                "ViewCodeSequence": Sequence(
                    [*view_code("R-10242", "SRT", "cc"), *view_with_modifiers(("R-102D6", "SRT"))]
                )
            },
            (MAG,),
        ),
    ):
        dataset = make_header(tmp_path / "a.dcm", **tags)
        assert dicom_view.get_view_modifiers(dataset) == expected
        assert dicom_spacing.is_magnified(dataset) is (MAG in expected)
        assert dicom.describe_header(tmp_path / "a.dcm")["magnified"] is (MAG in expected)


@pytest.mark.parametrize(
    ("text", "side", "view", "modifiers"),
    [
        ("RMLO", "R", "MLO", ()),
        ("LMLO", "L", "MLO", ()),
        ("L_CC", "L", "CC", ()),
        ("R CC", "R", "CC", ()),
        ("RLM", "R", "LM", ()),
        ("LML", "L", "ML", ()),
        ("MCC", "", "CC", (MAG,)),
        ("LMML", "L", "ML", (MAG,)),
        ("RMMLO", "R", "MLO", (MAG,)),
        ("MAG CC", "", "CC", (MAG,)),
        ("CCID", "", "CC", ("implant displaced",)),
        ("RMLOID", "R", "MLO", ("implant displaced",)),
        ("RXCCL", "R", "XCCL", ()),
        ("SMLORL", "", "MLO", ("spot compression", "rolled lateral")),
        # Values that are views.
        ("MLO", "", "MLO", ()),
        ("ML", "", "ML", ()),
        ("LM", "", "LM", ()),
        ("LMO", "", "LMO", ()),
        ("SIO", "", "SIO", ()),
        ("XCCM", "", "XCCM", ()),
    ],
)
def test_view_position_with_side_and_modifiers(
    tmp_path: Path, text: str, side: str, view: str, modifiers: tuple[str, ...]
) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, ViewPosition=text)
    record = dicom.read_header_attributes(path)
    assert (record.laterality, record.view) == (side, view)
    assert record.laterality_source == ("ViewPosition" if side else "")
    found = dicom.describe_header(path)
    assert found["view_modifiers"] == list(modifiers) and found["magnified"] is (MAG in modifiers)
    assert VIEW_UNKNOWN not in found["notes"]


@pytest.mark.parametrize("text", ["SPECIMEN", "PA", "MLOX", "RR", "ROY"])
def test_an_unknown_view_position_is_noted_without_its_text(tmp_path: Path, text: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, ViewPosition=text, ImageLaterality="R")
    assert dicom.read_header_attributes(path).view == ""
    assert dicom.describe_header(path)["notes"] == [VIEW_UNKNOWN]


def test_laterality_attributes_take_precedence_over_view_position(
    tmp_path: Path,
) -> None:
    tags = {"ViewPosition": "RMLO", "PatientOrientation": ["A", "F"]}
    path = write_dicom(tmp_path / "a.dcm", NOISE, **tags)
    assert dicom.read_header_attributes(path).laterality == "R"
    assert [note.split(" (")[0] for note in dicom.describe_header(path)["notes"]] == [
        LATERALITIES_DIFFER
    ]
    write_dicom(path, NOISE, **tags, Laterality="L")
    assert dicom.read_header_attributes(path).laterality == "L"
    assert "ViewPosition R" in dicom.describe_header(path)["notes"][0]


def test_record_and_errors_contain_no_patient_data(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, VOILUTFunction="SIGMOID", RescaleType="US")
    header = pydicom.dcmread(path)
    texts = ("PN", "LO", "SH", "ST", "LT", "UT", "CS", "AE")
    keywords = [element.keyword for element in header if element.VR in texts]
    keywords += ["ImageLaterality", "ViewPosition", "PatientOrientation", "PresentationLUTShape"]
    keywords += ["WindowCenterWidthExplanation", "LossyImageCompression", "RescaleSlope"]
    for keyword in keywords:
        for value in ("PLANTED", ["PLANTED", "PLANTED"]):
            planted = pydicom.dcmread(path)
            with pydicom.config.disable_value_validation():
                try:
                    setattr(planted, keyword, value)
                except ValueError:  # a number: written as text below
                    planted.add_new(keyword, "LO", value)
                pydicom.dcmwrite(tmp_path / "b.dcm", planted)
            try:
                record = json.dumps(dicom.read_with_record(tmp_path / "b.dcm")[2])
            except InputError as error:
                record = str(error)
            assert "PLANTED" not in record.upper(), keyword
    record = json.dumps(dicom.read_with_record(path)[2]).upper()
    for secret in ("SECRET", "1950", "2001", "1.2.826"):
        assert secret not in record


def run_inspect_dicom(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_inspect_dicom_prints_the_record_and_draws_the_lesion(tmp_path: Path) -> None:
    exposure = np.full((300, 200), 4000)
    exposure[100:140, 60:120] = 500  # a mass: less exposure
    path = write_dicom(tmp_path / "a.dcm", exposure, **for_processing())
    out = tmp_path / "a.png"
    process = run_inspect_dicom(path, "--png", out, "--box", "100,60,140,120")
    assert process.returncode == 0 and process.stderr == ""
    assert "spacing_um              100.0; 100.0" in process.stdout
    assert "Burgess" in process.stdout and "Secret" not in process.stdout
    picture = np.asarray(Image.open(out)).astype(int)
    assert picture.shape == (150, 100, 3)
    drawn_pixels = np.argwhere(picture[..., 0] != picture[..., 2])
    assert drawn_pixels.min(axis=0).tolist() == [50, 30] and drawn_pixels.max(axis=0).tolist() == [
        70,
        60,
    ]
    assert (picture[55:65, 35:55] == 255).all() and (picture[:40] == 0).all()


def test_inspect_dicom_continues_after_a_damaged_file(tmp_path: Path) -> None:
    good = write_dicom(tmp_path / "good.dcm", NOISE)
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(good.read_bytes()[:600])
    process = run_inspect_dicom(bad, good)
    assert process.returncode == 2 and str(good) in process.stdout
    assert process.stderr.startswith(f"{bad}: ") and process.stderr.count("\n") == 1
    process = run_inspect_dicom(good, "--png", tmp_path / "a.png")
    assert process.returncode == 2 and "--pixel-um" in process.stderr


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--png", "{}/o"), "expected a name ending in .png"),
        (("--png", "{}/o.xyz"), "expected a name ending in .png"),
        (("--png", "{}/none/o.png"), r"o\.png: cannot be written .*make that folder"),
        (
            ("--pixel-um", "nan"),
            r"nan x nan um \(--pixel-um\) is invalid: expected two positive numbers",
        ),
        (("--pixel-um", "-5"), "expected two positive numbers"),
        (("--pixel-um", "0"), "expected two positive numbers"),
        (("--pixel-um", "0.1", "--png", "{}/o.png"), "um, not mm"),
        (("--pixel-um", "2000"), "above 1200 um"),
        (("--box", "5000;5000;6000;6000"), "a.dcm: the box .* is not inside the image of 33 rows"),
        (("--box=-1,2,3,4",), "not inside the image of 33 rows and 47 columns"),
        (("--box", "1;2;3"), "^--box 1;2;3: expected top;left;bottom;right with bottom > top"),
        (("--box", "3;2;1;4"), "^--box 3;2;1;4: expected top;left;bottom;right"),
    ],
)
def test_wrong_flags_of_inspect_dicom_raise_one_line(
    tmp_path: Path, flags: tuple[str, ...], reason: str
) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, ImagerPixelSpacing=["0.1", "0.1"])
    process = run_inspect_dicom(path, *(flag.format(tmp_path) for flag in flags))
    assert process.returncode == 2 and re.search(reason, process.stderr), process.stderr
    assert "Traceback" not in process.stderr and list(tmp_path.iterdir()) == [path]


def test_inspect_dicom_does_not_overwrite_the_image_that_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(path)
    before = path.read_bytes()
    process = run_inspect_dicom(path, "--png", path, "--pixel-um", "100")
    assert process.returncode == 2 and "is the image that is read" in process.stderr
    assert path.read_bytes() == before


def test_inspect_dicom_reports_which_pixel_size_it_uses(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", NOISE, ImagerPixelSpacing=["0.1", "0.09"])
    process = run_inspect_dicom(path, "--pixel-um", "200")
    assert "--pixel-um 200 is not used: ImagerPixelSpacing is 100 x 90 um" in process.stdout
    assert f"{NOT_SQUARE} (100 x 90 um)" in process.stdout  # as an ingest notes it
    write_dicom(path, NOISE, ImagerPixelSpacing=["0.1", "0.1"])
    process = run_inspect_dicom(path, "--pixel-um", "100.5")
    assert process.returncode == 0 and "notes                   -" in process.stdout
    write_dicom(path, NOISE)
    process = run_inspect_dicom(path, "--pixel-um", "50", "--png", tmp_path / "o.PNG")
    assert process.returncode == 0
    with Image.open(tmp_path / "o.PNG") as picture:
        assert picture.size == (11, 8)
