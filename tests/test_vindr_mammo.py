"""Test the VinDr-Mammo reader: every row of the table is a mass or left out with a reason."""

import re
from pathlib import Path

import numpy as np
import pytest
from kit.fuzz import outcomes
from kit.lesion import offset
from kit.vindr_mammo import FINDINGS, MASS, ONE, THREE, TWO, Finding, make_vindr_mammo

from mtl_jax.data import ingest
from mtl_jax.data.ingest_plan import Rules
from mtl_jax.data.sources import vindr_mammo
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import InputError

PLAIN = RoiSettings(correct=False)
BIRADS = Rules(truth_policy="birads")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a release that no test changes."""
    return make_vindr_mammo(tmp_path_factory.mktemp("vindr"))


def test_masses_classes_and_reasons(release: Path) -> None:
    collection = vindr_mammo.read_collection(str(release))
    assert [view.lesion_id for view in collection.views] == [
        "img1-1",
        "img2-1",
        "img4-1",
        "img4-2",
        "img6-1",
    ]
    assert [view.label for view in collection.views] == [1, 1, 1, 0, 0]
    assert [view.case_id for view in collection.views] == [ONE, ONE, TWO, TWO, THREE]
    assert [view.split for view in collection.views] == ["train", "train", "test", "test", "train"]
    assert [view.laterality for view in collection.views] == ["L", "L", "R", "R", "L"]
    assert [view.view for view in collection.views] == ["CC", "MLO", "MLO", "MLO", "MLO"]
    assert {view.truth_source for view in collection.views} == {"birads"}
    assert collection.views[1].box == (210.25, 160.5, 300.75, 250.5)
    assert dict(collection.left_out) == {
        "img3-1": "not a mass: No Finding",
        "img4-3": "not a mass: Suspicious Calcification",
        "img5-1": "finding_birads BI-RADS 2 is not one of BI-RADS 3, BI-RADS 4, BI-RADS 5",
    }
    assert len(collection.views) + len(collection.left_out) == len(FINDINGS)
    assert vindr_mammo.read_collection(str(release.parent)).views == collection.views


def test_boxes_beyond_the_image_are_clipped_and_noted(release: Path) -> None:
    collection = vindr_mammo.read_collection(str(release))
    assert collection.views[2].box == (100, 0, 180, 80)
    assert [view.note for view in collection.views] == ["", "", "box clipped to the image", "", ""]
    assert any(
        text.startswith("vindr_mammo: 1 boxes that reached") for text in collection.decisions
    )


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((400, 10, 450, 60), "its box is empty or outside its image"),
        ((50, 10, 50, 60), "its box is empty or outside its image"),
    ],
)
def test_boxes_outside_the_image_are_left_out(
    tmp_path: Path, box: tuple[float, ...], reason: str
) -> None:
    finding = Finding(ONE, "img1", "L", "CC", "test", MASS, "BI-RADS 4", box)
    collection = vindr_mammo.read_collection(str(make_vindr_mammo(tmp_path, [finding])))
    assert collection.left_out == (("img1-1", reason),)


def test_each_box_is_a_lesion_and_a_repeated_box_is_one(tmp_path: Path) -> None:
    rows = [FINDINGS[0], FINDINGS[0], FINDINGS[0]._replace(box=(10, 10, 50, 50))]
    collection = vindr_mammo.read_collection(str(make_vindr_mammo(tmp_path, rows)))
    assert [view.lesion_id for view in collection.views] == ["img1-1", "img1-3"]
    assert collection.left_out == (("img1-2", "duplicate of an earlier box of the image"),)


def test_a_box_of_two_classes_is_left_out(tmp_path: Path) -> None:
    rows = [FINDINGS[0], FINDINGS[0]._replace(birads="BI-RADS 3"), FINDINGS[1]]
    collection = vindr_mammo.read_collection(str(make_vindr_mammo(tmp_path, rows)))
    assert [view.lesion_id for view in collection.views] == ["img2-1"]
    reason = "its box is listed as benign and as malignant"
    assert dict(collection.left_out) == {"img1-1": reason, "img1-2": reason}


@pytest.mark.parametrize(("old", "new"), [(",520,400,", ",521,400,"), (",520,400,", ",400,520,")])
def test_an_image_of_another_size_than_its_boxes_is_left_out(
    tmp_path: Path, old: str, new: str
) -> None:
    release = make_vindr_mammo(tmp_path, FINDINGS[:2])
    table = release / "finding_annotations.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    collection = vindr_mammo.read_collection(str(release))
    assert [view.lesion_id for view in collection.views] == ["img2-1"]
    assert collection.left_out[0][1].startswith("its header states 520x400 pixels, the table ")


def test_a_pixel_size_in_metres_is_left_out(tmp_path: Path) -> None:
    collection = vindr_mammo.read_collection(
        str(make_vindr_mammo(tmp_path, FINDINGS[:1], pixel_um=0.1))
    )
    assert "(ImagerPixelSpacing) is below 10 um" in collection.left_out[0][1]


def test_one_message_lists_all_errors_of_the_table(tmp_path: Path) -> None:
    table = make_vindr_mammo(tmp_path, FINDINGS) / "finding_annotations.csv"
    text = table.read_text().replace(",training", ",validation").replace(",R,MLO,", ",B,MLO,")
    table.write_text(text)
    with pytest.raises(InputError) as failure:
        vindr_mammo.read_collection(str(table.parent))
    assert "finding_annotations.csv: 5 errors: (1) line 2: split 'val" in str(failure.value)
    assert "(3) line 5: laterality 'B' is invalid: expected L or R" in str(failure.value)


def test_missing_and_damaged_images_are_left_out(tmp_path: Path) -> None:
    release = make_vindr_mammo(tmp_path)
    (release / "images" / ONE / "img1.dicom").unlink()
    (release / "images" / ONE / "img2.dicom").write_bytes(b"DICM")
    collection = vindr_mammo.read_collection(str(release))
    left_out = dict(collection.left_out)
    assert left_out["img1-1"] == "its image is not in the folder images"
    assert left_out["img2-1"].startswith("not a DICOM file")
    assert len(collection.views) == 3


@pytest.mark.parametrize("pixel_um", [70, 94.1, 100])
def test_a_lesion_is_in_the_middle_of_its_roi(tmp_path: Path, pixel_um: float) -> None:
    make_vindr_mammo(tmp_path, pixel_um=pixel_um)
    rois = ingest.load(f"vindr_mammo:{tmp_path}", tmp_path / "cache", PLAIN, {}, BIRADS)
    assert len(rois) == 5
    assert set(rois.index["pixel_um_row"]) == {pixel_um}
    clipped = rois.index["note"] != ""
    assert clipped.sum() == 1
    # The visible part of a clipped lesion is not in the middle of its ROI.
    for roi in np.concatenate(rois.shards)[~clipped][:, 44:84, 44:84]:
        assert offset(roi) < 1


def test_a_birads_reference_standard_needs_its_own_policy(release: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set config.data.truth_policy to 'birads'"):
        ingest.load(f"vindr_mammo:{release}", tmp_path, PLAIN, {})


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("finding_birads", "birads", "csv: missing column finding_birads"),
        (",150,200,250,300,", ",150,x,250,300,", "csv line 2: ymin 'x' is invalid: expected a n"),
        (",150,200,250,300,", ",150,nan,250,300,", "csv line 2: ymin 'nan' is invalid: expected"),
        (",150,200,250,300,", ",,,,,", "csv line 2: ymin '' is invalid: expected a number"),
        (",training", ",validation", "csv line 2: split 'validation' is invalid: expected"),
        (",L,CC,", ",B,CC,", "csv line 2: laterality 'B' is invalid: expected L or R"),
        (",L,CC,", ",L,ML,", "csv line 2: view_position 'ML' is invalid: expected CC or MLO"),
        (",520,400,", ",0,400,", "csv line 2: height 0, width 400 are invalid: expected"),
        ("['Mass']", "__import__('os')", "csv line 2: finding_categories"),
        (f"\n{ONE},", "\n../../etc,", "csv line 2: study_id '../../etc' is invalid: expected"),
    ],
)
def test_a_damaged_table_is_rejected(tmp_path: Path, old: str, new: str, reason: str) -> None:
    table = make_vindr_mammo(tmp_path, FINDINGS[:2]) / "finding_annotations.csv"
    text = table.read_text().replace("\r\n", "\n")
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(reason)):
        vindr_mammo.read_collection(str(tmp_path))


def test_a_missing_or_ambiguous_table_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vindr_mammo: no finding_annotations.csv in"):
        vindr_mammo.read_collection(str(tmp_path))
    make_vindr_mammo(tmp_path / "a", FINDINGS[:1])
    make_vindr_mammo(tmp_path / "b", FINDINGS[:1])
    with pytest.raises(InputError, match="2 folders below .* hold finding_annotations.csv"):
        vindr_mammo.read_collection(str(tmp_path))


def test_a_hostile_list_of_categories_is_rejected_quickly(tmp_path: Path) -> None:
    release = make_vindr_mammo(tmp_path, FINDINGS[:1])
    table = release / "finding_annotations.csv"
    table.write_text(table.read_text().replace("['Mass']", "\"['" + "a', 'b" * 9_000 + "', !]\""))
    with pytest.raises(InputError, match="is invalid: expected a list of names"):
        vindr_mammo.read_collection(str(release))


def fuzz(folder: Path, count: int) -> None:
    release = make_vindr_mammo(folder, FINDINGS[:4])
    table = release / "finding_annotations.csv"
    counts = outcomes(table, count, 1, lambda: vindr_mammo.read_collection(str(release)))
    assert counts["rejected"] > count / 20


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_many_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 5000)
