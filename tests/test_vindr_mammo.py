"""VinDr-Mammo: every row of the findings is a mass or left out with its reason."""

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
from mtl_jax.types import InputError

PLAIN = {"correct": False, "along_mm": 3.2, "depth_mm": 1.6}
BIRADS = Rules(truth_policy="birads")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed by a test."""
    return make_vindr_mammo(tmp_path_factory.mktemp("vindr"))


def test_masses_classes_and_reasons(release: Path) -> None:
    found = vindr_mammo.collection(str(release))
    assert [view.lesion_id for view in found.views] == [
        "img1-1",
        "img2-1",
        "img4-1",
        "img4-2",
        "img6-1",
    ]
    assert [view.label for view in found.views] == [1, 1, 1, 0, 0]
    assert [view.case_id for view in found.views] == [ONE, ONE, TWO, TWO, THREE]
    assert [view.split for view in found.views] == ["train", "train", "test", "test", "train"]
    assert [view.laterality for view in found.views] == ["L", "L", "R", "R", "L"]
    assert [view.view for view in found.views] == ["CC", "MLO", "MLO", "MLO", "MLO"]
    assert {view.truth_source for view in found.views} == {"birads"}
    assert found.views[1].box == (210.25, 160.5, 300.75, 250.5)
    assert dict(found.left_out) == {
        "img3-1": "no mass: No Finding",
        "img4-3": "no mass: Suspicious Calcification",
        "img5-1": "finding_birads BI-RADS 2 is none of BI-RADS 3, BI-RADS 4, BI-RADS 5",
    }
    assert len(found.views) + len(found.left_out) == len(FINDINGS)
    assert vindr_mammo.collection(str(release.parent)).views == found.views


def test_boxes_beyond_the_image_are_clipped_and_said_so(release: Path) -> None:
    found = vindr_mammo.collection(str(release))
    assert found.views[2].box == (100, 0, 180, 80)
    assert [view.note for view in found.views] == ["", "", "box clipped to the image", "", ""]
    assert any(text.startswith("vindr_mammo: 1 boxes reached beyond") for text in found.decisions)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((400, 10, 450, 60), "its box is empty or outside its image"),
        ((50, 10, 50, 60), "its box is empty or outside its image"),
    ],
)
def test_boxes_without_a_part_in_the_image(
    tmp_path: Path, box: tuple[float, ...], reason: str
) -> None:
    finding = Finding(ONE, "img1", "L", "CC", "test", MASS, "BI-RADS 4", box)
    found = vindr_mammo.collection(str(make_vindr_mammo(tmp_path, [finding])))
    assert found.left_out == (("img1-1", reason),)


def test_several_masses_are_several_lesions_and_repeats_are_one(tmp_path: Path) -> None:
    rows = [FINDINGS[0], FINDINGS[0], FINDINGS[0]._replace(box=(10, 10, 50, 50))]
    found = vindr_mammo.collection(str(make_vindr_mammo(tmp_path, rows)))
    assert [view.lesion_id for view in found.views] == ["img1-1", "img1-3"]
    assert found.left_out == (("img1-2", "the same box of the same image stands above"),)


def test_a_box_of_two_classes_is_left_out(tmp_path: Path) -> None:
    rows = [FINDINGS[0], FINDINGS[0]._replace(birads="BI-RADS 3"), FINDINGS[1]]
    found = vindr_mammo.collection(str(make_vindr_mammo(tmp_path, rows)))
    assert [view.lesion_id for view in found.views] == ["img2-1"]
    reason = "the same box of the same image stands twice, once benign and once malignant"
    assert dict(found.left_out) == {"img1-1": reason, "img1-2": reason}


@pytest.mark.parametrize(("old", "new"), [(",520,400,", ",521,400,"), (",520,400,", ",400,520,")])
def test_an_image_of_another_size_than_its_boxes_is_left_out(
    tmp_path: Path, old: str, new: str
) -> None:
    release = make_vindr_mammo(tmp_path, FINDINGS[:2])
    table = release / "finding_annotations.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    found = vindr_mammo.collection(str(release))
    assert [view.lesion_id for view in found.views] == ["img2-1"]
    assert found.left_out[0][1].startswith("its header says 520x400 pixels, the table ")


def test_a_pixel_size_in_metres_is_left_out(tmp_path: Path) -> None:
    found = vindr_mammo.collection(str(make_vindr_mammo(tmp_path, FINDINGS[:1], pixel_um=0.1)))
    assert "(ImagerPixelSpacing) is below 10 um" in found.left_out[0][1]


def test_all_faults_of_the_table_are_in_one_message(tmp_path: Path) -> None:
    table = make_vindr_mammo(tmp_path, FINDINGS) / "finding_annotations.csv"
    text = table.read_text().replace(",training", ",validation").replace(",R,MLO,", ",B,MLO,")
    table.write_text(text)
    with pytest.raises(InputError) as failure:
        vindr_mammo.collection(str(table.parent))
    assert "finding_annotations.csv: 5 faults: (1) line 2: split 'val" in str(failure.value)
    assert "(3) line 5: laterality 'B' is neither L nor R" in str(failure.value)


def test_images_that_are_missing_damaged_or_without_spacing(tmp_path: Path) -> None:
    release = make_vindr_mammo(tmp_path)
    (release / "images" / ONE / "img1.dicom").unlink()
    (release / "images" / ONE / "img2.dicom").write_bytes(b"DICM")
    source = vindr_mammo.collection(str(release))
    left_out = dict(source.left_out)
    assert left_out["img1-1"] == "its image is not in the folder images"
    assert left_out["img2-1"].startswith("not a DICOM file")
    assert len(source.views) == 3


@pytest.mark.parametrize("pixel_um", [70, 94.1, 100])
def test_a_lesion_lands_in_the_middle_of_its_roi(tmp_path: Path, pixel_um: float) -> None:
    make_vindr_mammo(tmp_path, pixel_um=pixel_um)
    rois = ingest.load(f"vindr_mammo:{tmp_path}", tmp_path / "cache", PLAIN, {}, BIRADS)
    assert len(rois) == 5
    assert set(rois.index["pixel_um_row"]) == {pixel_um}
    clipped = rois.index["note"] != ""
    assert clipped.sum() == 1
    # What the image does not show of a clipped lesion is not in its middle either.
    for roi in np.concatenate(rois.shards)[~clipped][:, 44:84, 44:84]:
        assert offset(roi) < 1


def test_birads_truth_needs_its_own_policy(release: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set data.truth_policy to 'birads'"):
        ingest.load(f"vindr_mammo:{release}", tmp_path, PLAIN, {})


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("finding_birads", "birads", "csv: missing column finding_birads"),
        (",150,200,250,300,", ",150,x,250,300,", "csv line 2: ymin 'x' is not a number"),
        (",150,200,250,300,", ",150,nan,250,300,", "csv line 2: ymin 'nan' is not a number"),
        (",150,200,250,300,", ",,,,,", "csv line 2: ymin '' is not a number"),
        (",training", ",validation", "csv line 2: split 'validation' is none of training, test"),
        (",L,CC,", ",B,CC,", "csv line 2: laterality 'B' is neither L nor R"),
        (",L,CC,", ",L,ML,", "csv line 2: view_position 'ML' is neither CC nor MLO"),
        (",520,400,", ",0,400,", "csv line 2: height 0, width 400: no size of an image"),
        ("['Mass']", "__import__('os')", "csv line 2: finding_categories"),
        (f"\n{ONE},", "\n../../etc,", "csv line 2: study_id '../../etc' is no identifier"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    table = make_vindr_mammo(tmp_path, FINDINGS[:2]) / "finding_annotations.csv"
    text = table.read_text().replace("\r\n", "\n")
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(reason)):
        vindr_mammo.collection(str(tmp_path))


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vindr_mammo: no finding_annotations.csv in"):
        vindr_mammo.collection(str(tmp_path))
    make_vindr_mammo(tmp_path / "a", FINDINGS[:1])
    make_vindr_mammo(tmp_path / "b", FINDINGS[:1])
    with pytest.raises(InputError, match="stands in 2 folders of"):
        vindr_mammo.collection(str(tmp_path))


def test_a_list_of_categories_is_read_in_no_time(tmp_path: Path) -> None:
    release = make_vindr_mammo(tmp_path, FINDINGS[:1])
    table = release / "finding_annotations.csv"
    table.write_text(table.read_text().replace("['Mass']", "\"['" + "a', 'b" * 9_000 + "', !]\""))
    with pytest.raises(InputError, match="is no list of names"):
        vindr_mammo.collection(str(release))


def fuzz(folder: Path, count: int) -> None:
    release = make_vindr_mammo(folder, FINDINGS[:4])
    table = release / "finding_annotations.csv"
    found = outcomes(table, count, 1, lambda: vindr_mammo.collection(str(release)))
    assert found["rejected"] > count / 20


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_damaged_files_never_end_in_a_traceback_at_length(tmp_path: Path) -> None:
    fuzz(tmp_path, 5000)
