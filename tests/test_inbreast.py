"""Test the INbreast reader: facts of table and outlines, quirks, damaged files."""

import plistlib
import re
from pathlib import Path

import numpy as np
import pytest
from kit.fuzz import outcomes
from kit.inbreast import IMAGES, ONE, THREE, TWO, Image, make_inbreast, mass, write_outlines
from kit.lesion import circle, offset

from mtl_jax.data import ingest
from mtl_jax.data.ingest_plan import Rules
from mtl_jax.data.sources import inbreast, osirix
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import Collection, InputError

PLAIN = RoiSettings(correct=False)


def read_collection(path: Path, *kinds: str, link_views: bool = False) -> Collection:
    return inbreast.read_collection(str(path), kinds=kinds or ("mass",), link_views=link_views)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a release that no test changes."""
    return make_inbreast(tmp_path_factory.mktemp("inbreast"))


def test_masses_classes_and_reasons(release: Path) -> None:
    collection = read_collection(release)
    assert [view.lesion_id for view in collection.views] == [
        *("20586908-1", "20586934-1", "20587054-1", "20587054-2", "20587080-1", "22427705-1")
    ]
    assert [view.label for view in collection.views] == [1, 1, 0, 0, 0, 1]
    assert [view.case_id for view in collection.views] == [ONE, ONE, TWO, TWO, TWO, THREE]
    assert [view.view for view in collection.views] == ["CC", "MLO", "CC", "CC", "MLO", "CC"]
    assert [view.laterality for view in collection.views] == ["R", "R", "L", "L", "L", "L"]
    assert {view.truth_source for view in collection.views} == {"birads"}
    assert {view.note for view in collection.views} == {""}
    assert collection.views[0].box == pytest.approx((240, 190, 360, 310))
    assert dict(collection.left_out) == {
        "20586908-2": "kind calcification not chosen",
        "20586934-2": "kind spiculated_region not chosen",
        "20586960_6c613a14b80a8591_MG_L_CC_ANON.dcm": "no finding: it has no XML",
        "20587080-2": "kind asymmetry not chosen",
        "22427705-2": "kind distortion not chosen",
        "22427705-3": "kind calcification not chosen",
        "22427705-4": "outline of unknown kind 'UNNAMED'",
        "22427705-5": "outline of unknown kind ''",
        "22427705-6": "mass marked by 2 point(s), not by an outline",
    }


def test_each_outline_and_each_image_without_outlines_is_listed(release: Path) -> None:
    collection = read_collection(release)
    outlines = sum(max(len(image.outlines), 1) for image in IMAGES)
    assert len(collection.views) + len(collection.left_out) == outlines


def test_the_folder_above_the_release_is_accepted(release: Path) -> None:
    assert read_collection(release.parent).views == read_collection(release).views


def test_kinds_are_recognized_in_every_spelling(release: Path) -> None:
    collection = read_collection(release, "asymmetry", "spiculated_region")
    assert [view.lesion_id for view in collection.views] == ["20586934-2", "20587080-2"]
    with pytest.raises(InputError, match="'blob'\\) is invalid: expected some of mass, spicul"):
        read_collection(release, "mass", "blob")


def test_views_are_linked_on_request_if_each_has_one_lesion(release: Path) -> None:
    linked = read_collection(release, link_views=True)
    lesions = [view.lesion_id for view in linked.views]
    assert lesions[:2] == ["20586908-1+20586934-1"] * 2
    # Two masses in the CC view of patient two: the one in the MLO view is ambiguous.
    assert len(set(lesions[2:])) == 4
    assert any("linked where" in text and "1 lesions" in text for text in linked.decisions)
    assert any("not linked" in text for text in read_collection(release).decisions)


def test_views_of_other_dates_or_classes_are_not_linked(tmp_path: Path) -> None:
    pairs = [
        Image(1, ONE, "L", "CC", "4b", (mass(300, 300),), "200801"),
        Image(2, ONE, "L", "MLO", "4b", (mass(300, 300),), "200901"),
        Image(3, TWO, "L", "CC", "3", (mass(300, 300),)),
        Image(4, TWO, "L", "MLO", "4a", (mass(300, 300),)),
    ]
    collection = read_collection(make_inbreast(tmp_path, pairs), link_views=True)
    assert len({view.lesion_id for view in collection.views}) == 4


@pytest.mark.parametrize("pixel_um", [None, 50.0, 85.0])
def test_a_lesion_is_in_the_middle_of_its_roi(tmp_path: Path, pixel_um: float | None) -> None:
    make_inbreast(tmp_path, pixel_um=pixel_um)
    rois = ingest.load(
        f"inbreast:{tmp_path}",
        tmp_path / "cache",
        PLAIN,
        {"inbreast": {"kinds": ("mass",), "link_views": False}},
        Rules(truth_policy="birads"),
    )
    assert len(rois) == 6 and sum(rois.index["label"]) == 3
    assert set(rois.index["pixel_um_row"]) == {pixel_um or 70.0}
    source = "ImagerPixelSpacing" if pixel_um else "stated by the collection"
    assert set(rois.index["spacing_source"]) == {source}
    # Two masses of one image are distant: each ROI has one within 30 pixels of its centre.
    for roi in np.concatenate(rois.shards)[:, 34:94, 34:94]:
        assert offset(roi) < 1


def test_a_birads_reference_standard_needs_its_own_policy(release: Path, tmp_path: Path) -> None:
    options = {"inbreast": {"kinds": ("mass",), "link_views": False}}
    with pytest.raises(InputError, match="set config.data.truth_policy to 'birads'"):
        ingest.load(f"inbreast:{release}", tmp_path, PLAIN, options)


def test_a_binary_property_list_is_read(tmp_path: Path) -> None:
    outlines = [("Mass", circle(100.5, 80.25, 20))]
    write_outlines(tmp_path / "a.xml", outlines)
    write_outlines(tmp_path / "b.xml", outlines, binary=True)
    assert osirix.read_outlines(tmp_path / "a.xml") == osirix.read_outlines(tmp_path / "b.xml")
    ((name, points),) = osirix.read_outlines(tmp_path / "a.xml")
    assert name == "Mass"
    assert np.allclose(points, outlines[0][1], atol=1e-6)


@pytest.mark.parametrize("birads", ["", "0"])
def test_birads_0_or_empty_is_left_out(tmp_path: Path, birads: str) -> None:
    images = [Image(1, ONE, "L", "CC", birads, (mass(300, 300),))]
    collection = read_collection(make_inbreast(tmp_path, images))
    assert not collection.views
    assert "is neither benign nor malignant" in collection.left_out[0][1]


@pytest.mark.parametrize("birads", ["1", "2", "3", "4", "4a", "4B", "4c", "5", "6"])
def test_birads_up_to_3_is_benign(tmp_path: Path, birads: str) -> None:
    images = [Image(1, ONE, "L", "CC", birads, (mass(300, 300),))]
    (view,) = read_collection(make_inbreast(tmp_path, images)).views
    assert view.label == (birads not in ("1", "2", "3"))


def test_rows_images_and_outlines_without_counterpart_are_left_out(tmp_path: Path) -> None:
    release = make_inbreast(tmp_path, IMAGES[:1])
    table = release / "INbreast.csv"
    table.write_text(
        table.read_text() + "removed;removed;L;CC;200801;99;1;2\nnote;;;;;;;\nanother\n"
    )
    (release / "AllXML" / "77.xml").write_bytes(b"")
    dicoms = release / "AllDICOMs"
    source = next(dicoms.glob("*.dcm")).read_bytes()
    (dicoms / f"55_{ONE}_MG_L_CC_ANON.dcm").write_bytes(source)
    (dicoms / "._20586908.dcm").write_bytes(b"")
    left_out = dict(read_collection(release).left_out)
    assert left_out["99"] == "row of INbreast.csv without an image in AllDICOMs"
    assert left_out["line 4"] == left_out["line 5"] == left_out["99"]
    assert left_out["77.xml"] == "outlines without an image in AllDICOMs"
    assert left_out[f"55_{ONE}_MG_L_CC_ANON.dcm"] == "not in INbreast.csv"
    assert left_out["._20586908.dcm"].startswith("its name does not have")


def test_a_side_that_differs_from_the_file_name_is_corrected(tmp_path: Path) -> None:
    release = make_inbreast(tmp_path, IMAGES[:1])
    table = release / "INbreast.csv"
    table.write_text(table.read_text().replace(";R;CC;", ";L;CC;"))
    collection = read_collection(release)
    assert collection.views[0].laterality == "R"
    assert (
        collection.views[0].note
        == "the table states another side or view; that of the file name is used (L CC)"
    )
    assert any("differs from the file name in 1 lesion" in text for text in collection.decisions)


def test_a_repeated_outline_is_one_lesion(tmp_path: Path) -> None:
    image = IMAGES[0]
    release = make_inbreast(tmp_path, [image._replace(outlines=image.outlines[:1] * 2)])
    collection = read_collection(release)
    assert len(collection.views) == 1
    assert (
        dict(collection.left_out)[f"{image.number}-2"]
        == "duplicate of an earlier outline of the image"
    )


def test_one_message_lists_all_errors_of_the_table(tmp_path: Path) -> None:
    table = make_inbreast(tmp_path) / "INbreast.csv"
    lines = table.read_text().splitlines()
    lines[1:] = [line.rpartition(";")[0] + ";9" for line in lines[1:]]
    table.write_text("\n".join([*lines, lines[1].replace(";9", ";5")]) + "\n")
    with pytest.raises(InputError) as failure:
        read_collection(table.parent)
    count = len(lines) - 1
    assert f"INbreast.csv: {count + 1} errors: (1) line 2: Bi-Rads '9'" in str(failure.value)
    assert f"line {count + 2}: File Name" in str(failure.value)


def test_tables_saved_with_other_separators_and_case_are_read(tmp_path: Path) -> None:
    release = make_inbreast(tmp_path)
    table = release / "INbreast.csv"
    before = read_collection(release).views
    text = table.read_text()
    table.write_bytes(b"\xef\xbb\xbf" + text.replace(";", ",").replace("\n", "\r\n").encode())
    assert read_collection(release).views == before
    table.write_text(text.replace("Bi-Rads", "BI-RADS").replace("File Name", "file name"))
    assert read_collection(release).views == before


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (";Bi-Rads", ";Rads", "INbreast.csv: missing column Bi-Rads"),
        (";2;5\n", ";2;7\n", "INbreast.csv line 2: Bi-Rads '7' is invalid: expected one of"),
        (";20586934;", ";20586908;", "line 3: File Name '20586908' has other values in an earlier"),
        (";2;5\n", ";2;5;;;x\n", "INbreast.csv line 2: 11 cells under 8 columns"),
        (";2;5\n", ';2;"5\n', "not a CSV"),
    ],
)
def test_a_damaged_table_gives_a_one_line_error(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    table = make_inbreast(tmp_path) / "INbreast.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        read_collection(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_folders_and_tables_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="inbreast: no such folder"):
        read_collection(tmp_path / "absent")
    with pytest.raises(InputError, match="inbreast: no AllDICOMs in"):
        read_collection(tmp_path)
    release = make_inbreast(tmp_path, IMAGES[:1])
    (release / "INbreast.csv").rename(release / "INbreast.xls")
    with pytest.raises(InputError, match="INbreast.xls cannot be read: save it as CSV"):
        read_collection(tmp_path)


def damaged_outlines() -> dict[str, bytes]:
    def image(**roi: object) -> bytes:
        return plistlib.dumps({"Images": [{"ROIs": [roi]}]})

    valid = image(Name="Mass", Point_px=["(1, 2)"])
    return {
        "is not a readable property list": b"not xml",
        "declares XML entities": valid.replace(b"<plist", b'<!DOCTYPE x [<!ENTITY a "b">]><plist'),
        "is invalid: expected '(column, row)'": image(Name="Mass", Point_px=["(1; 2)"]),
        "is invalid: expected finite numbers": image(Name="Mass", Point_px=["(1, 9e999)"]),
        "has no list Point_px": image(Name="Mass"),
        "has no list Images": plistlib.dumps({"Pictures": []}),
        "is larger than 8 MiB": b" " * (8 * 2**20 + 1),
        "has 2 images": plistlib.dumps({"Images": [{"ROIs": []}] * 2}),
    }


@pytest.mark.parametrize("reason", damaged_outlines())
def test_damaged_outlines_exclude_their_image_only(tmp_path: Path, reason: str) -> None:
    release = make_inbreast(tmp_path)
    (release / "AllXML" / "20586908.xml").write_bytes(damaged_outlines()[reason])
    collection = read_collection(release)
    assert len(collection.views) == 5
    assert reason in dict(collection.left_out)["20586908_6c613a14b80a8591_MG_R_CC_ANON.dcm"]
    assert str(tmp_path) not in str(collection.left_out)


def test_entities_hidden_by_another_encoding_are_rejected(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE p [<!ENTITY a "x">]><plist>&a;</plist>'
    (tmp_path / "a.xml").write_bytes(bomb.encode("utf-16"))
    with pytest.raises(InputError, match="not a readable property list"):
        osirix.read_outlines(tmp_path / "a.xml")


def test_a_binary_list_that_repeats_one_object_is_rejected(tmp_path: Path) -> None:
    points = ["(1, 2)"] * 20_000
    roi = {"Name": "Mass", "Point_px": points}
    content = plistlib.dumps({"Images": [{"ROIs": [roi] * 9_000}]}, fmt=plistlib.FMT_BINARY)
    assert len(content) < 8 * 2**20
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(InputError, match="more than 1000000 points"):
        osirix.read_outlines(tmp_path / "a.xml")


def fuzz(folder: Path, count: int) -> None:
    release = make_inbreast(folder, IMAGES[:1])
    table = outcomes(release / "INbreast.csv", count, 1, lambda: read_collection(release))
    assert table["rejected"] > count / 20
    xml = release / "AllXML" / "20586908.xml"
    outcomes(xml, count, 2, lambda: read_collection(release))
    write_outlines(xml, IMAGES[0].outlines, binary=True)
    outcomes(xml, count, 3, lambda: read_collection(release))


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 150)


@pytest.mark.slow
def test_many_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 3000)
