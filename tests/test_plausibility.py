"""Impossible locations of lesions are rejected or noted, for every kind of table."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_imaging import write_dicom

from mtl_jax.data import audit, ingest, plausibility
from mtl_jax.data.plausibility import check_location
from mtl_jax.data.sources import mini_mias
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import InputError

SHAPE = (700, 420)
UM = (100.0, 100.0)
PLAIN = RoiSettings(correct=False, along_mm=30.0, depth_mm=2.0)
HEADER = "dataset,patient_id,lesion_id,view,image_path,{},pixel_um,bits,truth"


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((0.2, 0.1, 0.3, 0.4), "within the first pixel: these may be fractions"),
        ((0, 0, 1, 1), "within the first pixel"),
        ((0.5, 0.5, 0.5, 0.5), "within the first pixel"),
        ((3, 3, 3.5, 9), "smaller than one stored pixel"),
        ((0, 0, 700, 420), "covers 100% of the rows and 100% of the columns"),
        ((3, 2, 699, 419), "covers 99% of the rows and 99% of the columns"),
        ((-900, -900, 2000, 2000), "covers 100%"),
        ((650, 300, 800, 400), "67% of its location .* is outside"),
    ],
)
def test_impossible_locations_are_rejected(box: tuple[float, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_location(box, SHAPE, UM, user_table=True)


@pytest.mark.parametrize(
    ("box", "kinds"),
    [
        ((300, 200, 340, 260), []),
        ((300, 200, 300, 200), []),  # a centre
        ((5, 5, 695, 390), [plausibility.COVERS]),
        ((0, 0, 700, 100), []),  # one direction alone
        ((-5, 100, 95, 200), []),  # an overshoot
        ((-30, 100, 70, 200), [plausibility.BEYOND]),
        ((300, 200, 309, 209), [plausibility.SMALL]),
        ((300, 200, 302, 240), []),
    ],
)
def test_rare_locations_are_noted(box: tuple[float, ...], kinds: list[str]) -> None:
    notes = check_location(box, SHAPE, UM, user_table=True)
    assert [note.kind for note in notes] == kinds
    assert not any(note.corrected for note in notes)


def test_locations_in_published_tables_are_noted_and_in_a_users_table_rejected() -> None:
    whole = check_location((0, 0, 700, 420), SHAPE, UM, user_table=False)
    assert [note.kind for note in whole] == [plausibility.COVERS]
    outside = check_location((650, 300, 800, 400), SHAPE, UM, user_table=False)
    assert [(note.kind, note.detail) for note in outside] == [(plausibility.BEYOND, "67% of it")]
    with pytest.raises(InputError, match="first pixel"):
        check_location((0.5, 0.5, 0.9, 0.7), SHAPE, UM, user_table=False)


def read(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(table.read_text().splitlines()))


def test_boxes_of_real_collections_are_accepted(shared: Path) -> None:
    """1,338 masses of DDSM, 303 of DMID, 58 of mini-MIAS: none rejected, few noted."""
    data, boxes = shared / "data", []
    edges = ("r0_299", "c0_299", "r1_299", "c1_299")
    for row in read(data / "ddsm299/masses.csv"):
        boxes.append(([float(row[edge]) for edge in edges], (299, 299), 500.0))
    edges = ("box_y0", "box_x0", "box_y1", "box_x1")
    for row in read(data / "dmid/masses.csv"):
        boxes.append(([float(row[edge]) for edge in edges], (1024, 1024), 250.0))
    result = mini_mias.read_collection(str(data / "mini_mias"), classes=mini_mias.CLASSES)
    boxes += [(view.box, (1024, 1024), 200.0) for view in result.views]
    assert len(boxes) > 1690
    noted = [check_location(box, shape, (um, um), True) for box, shape, um in boxes]
    assert sum(map(bool, noted)) < 10


@pytest.fixture
def home(tmp_path: Path) -> Path:
    gray = np.random.default_rng(5).integers(900, 3000, SHAPE, dtype=np.uint16)
    np.save(tmp_path / "a.npy", gray)
    np.save(tmp_path / "blank.npy", np.full(SHAPE, 2000, np.uint16))
    write_dicom(tmp_path / "a.dcm", gray + np.uint16(1))
    return tmp_path


def make(home: Path, header: str, *rows: str, **rules: object) -> ingest.RoiSet:
    (home / "m.csv").write_text("\n".join([header, *rows]) + "\n")
    options = {"manifest": {"outside": False}}
    return ingest.load(
        f"manifest:{home}/m.csv", home / "cache", PLAIN, options, ingest.Rules(**rules)
    )


@pytest.mark.parametrize(
    ("kind", "cell", "reason"),
    [
        ("box", "0.42;0.3;0.5;0.41", "fractions of the image"),
        ("circle", "0.4;0.5;0.06", "fractions of the image"),
        ("centre", "0.4;0.5", "fractions of the image"),
        ("polygon", '"0.4,0.5;0.6,0.5;0.5,0.7"', "fractions of the image"),
        ("circle", "350;210;4000", "covers 100% of the rows"),
        ("polygon", '"2,1;2,419;699,419;699,1"', "covers 100% of the rows and 100%"),
    ],
)
def test_every_location_of_a_manifest_is_checked(
    home: Path, kind: str, cell: str, reason: str
) -> None:
    with pytest.raises(InputError, match=f"m.csv line 3: .*{reason}"):
        header = HEADER.format(kind)
        good = {"box": "300;200;350;250", "circle": "300;200;25", "centre": "300;200"}
        good["polygon"] = '"300,200;340,250;300,250"'
        make(
            home,
            header,
            f"mine,P1,1,CC,a.npy,{good[kind]},100,12,benign",
            f"mine,P2,1,CC,a.dcm,{cell},100,12,benign",
        )


def test_an_roi_with_one_gray_value_is_left_out_and_strict_rejects_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(home / "blank2.npy", np.full(SHAPE, 2000, np.uint16))  # the pixels of another case
    rows = (
        "mine,P1,1,CC,a.npy,300;200;350;250,100,12,benign",
        "mine,P2,1,CC,blank.npy,300;200;350;250,100,12,benign",
        "mine,P3,1,CC,blank2.npy,300;200;350;250,100,12,malignant",
    )
    rois = make(home, HEADER.format("box"), *rows, pseudonymise=False)
    assert rois.index["case_id"].tolist() == ["P1"]
    reason = f"{plausibility.ONE_GRAY} (2000 of 4095)"
    assert all(text.startswith(reason) for _, text in rois.manifest["left_out"])
    counts = rois.manifest["counts"]
    assert (counts["constant"], counts["unusable"], counts["left_out"]) == (2, 0, 2)
    output = capsys.readouterr().err
    assert "m.csv line 3: " in output and "m.csv line 4: " in output and reason in output
    screen = audit.format_summary([rois])
    assert "mine: check: 2 of 3 ROIs have one gray value and are left out" in screen
    assert "2 left out" not in screen  # the check says it
    (folder,) = (home / "cache").glob("[!.]*")
    decisions = [
        (row["decision"], row["item"], row["reason"].partition(" (")[0])
        for row in read(folder / "audit.csv")
    ]
    assert decisions == [
        ("kept", "P1/1/CC", ""),
        ("left out", "P2/1/CC", plausibility.ONE_GRAY),
        ("left out", "P3/1/CC", plausibility.ONE_GRAY),
        ("noted", "mine", rois.manifest["checks"][0]["message"]),
    ]
    with pytest.raises(InputError, match="strict: 0 of the ROIs were corrected and 2 more"):
        make(home, HEADER.format("box"), *rows, pseudonymise=False, strict=True)
    shutil.rmtree(home / "cache")
    with pytest.raises(InputError, match="2 of 3 lesion views cannot be used: .*one gray value"):
        make(home, HEADER.format("box"), *rows, strict=True)
    with pytest.raises(
        InputError, match=r"mine: no lesion left: .*one gray value \(2000 of 4095\)"
    ):
        make(home, HEADER.format("box"), rows[1])


def test_a_polarity_that_contradicts_the_header_counts_as_a_correction(home: Path) -> None:
    header = HEADER.format("box") + ",polarity"
    rows = [
        "mine,P1,1,CC,a.dcm,300;200;350;250,100,12,benign,dark_dense",
        "mine,P2,1,CC,a.npy,300;200;350;251,100,12,benign,dark_dense",
    ]
    rois = make(home, header, *rows)
    assert [note.partition(" (")[0] for note in rois.index["note"]] == [plausibility.POLARITY, ""]
    shutil.rmtree(home / "cache")
    with pytest.raises(InputError, match="strict: .*the polarity of the table is used"):
        make(home, header, *rows, strict=True)
