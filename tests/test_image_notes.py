"""Notes on the metadata of images: from the reader to the audit, the screen and the report."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kit.dicom import for_processing, write_dicom

from mtl_jax.data import (
    audit,
    extract_rois,
    image_notes,
    ingest,
    plausibility,
    privacy,
    row_consistency,
    shards,
    table_errors,
)
from mtl_jax.data.ingest_plan import make_plan
from mtl_jax.data.sources import SOURCES, manifest
from mtl_jax.exclusion_reasons import group_by_reason
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.imaging.stored_image import HeaderAttributes
from mtl_jax.types import Collection, InputError, LesionView, Note, RoiSet

ROI = RoiSettings()
OWN_IDS = ingest.Rules(pseudonymise=False, truth_policy="birads", unusable="leave_out")
COLUMNS = "dataset,patient_id,lesion_id,view,image_path,truth,truth_source,pixel_um,box,laterality"
MOST = "the values use fewer bits than the image states"


@pytest.fixture(autouse=True)
def with_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each view name the line of its row, as sources with a table do."""

    def collection(path: str, **options: object) -> Collection:
        result = manifest.read_collection(path, **options)
        views = (
            replace(view, where=f"{path} line {number}")
            for number, view in enumerate(result.views, 2)
        )
        return replace(result, views=tuple(views))

    monkeypatch.setitem(SOURCES, "manifest", collection)


def gray(seed: int, top: int = 4095) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top + 1, (200, 220)).astype(np.uint16)


def row(case: str, image: str, **cells: str) -> dict[str, str]:
    plain = ("mine", case, "1", "CC", image, "benign", "biopsy", "100", "60;60;90;90", "")
    return dict(zip(COLUMNS.split(","), plain, strict=True)) | cells


def listed(home: Path, *rows: dict[str, str]) -> Path:
    names = list(dict.fromkeys(name for one in rows for name in one))
    with (home / "m.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names, restval="")
        table.writeheader()
        table.writerows(rows)
    return home


def load(home: Path, rules: ingest.Rules = OWN_IDS) -> RoiSet:
    return ingest.load(f"manifest:{home}/m.csv", home / "cache", ROI, {}, rules)


def read_audit(home: Path) -> dict[str, tuple[str, str]]:
    (path,) = (home / "cache").glob("[!.]*/audit.csv")
    with path.open(newline="") as file:
        return {line["item"]: (line["decision"], line["reason"]) for line in csv.DictReader(file)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two images of 9 bits in 16-bit files and one of 16 bits; one row needs a repair."""
    np.save(tmp_path / "a.npy", gray(1, 500))
    np.save(tmp_path / "b.npy", gray(2, 510))
    np.save(tmp_path / "c.npy", gray(3, 65_535))
    return listed(
        tmp_path,
        row("P1", "a.npy"),
        row("P2", "b.npy", pixel_um="100;90"),
        row("P3", "c.npy"),
        row("P4", "c.npy", box="", centre="70;70", truth="unproven"),
        row("P3", "c.npy", lesion_id="2", box="", centre="70;70"),
    )


def test_notes_are_in_the_audit_the_index_the_counts_and_on_screen(home: Path) -> None:
    rois = load(home)
    result = read_audit(home)
    assert {item: decision for item, (decision, _) in result.items()} == {
        "P1/1/CC": "noted",
        "P2/1/CC": "noted",
        "P3/1/CC": "kept",
        "P3/2/CC": "repaired",
        "P4/1/CC": "left out",
    }
    assert result["P1/1/CC"][1].startswith(f"{MOST} (99.9% of the values fit 9 of 16 bits")
    assert "rows and columns have different pixel sizes (100 x 90 um)" in result["P2/1/CC"][1]
    assert rois.index["noted"].tolist()[:3] == [result["P1/1/CC"][1], result["P2/1/CC"][1], ""]
    assert rois.index["note"].tolist() == ["", "", "", "centre only, extent not given"]
    counts = rois.manifest["counts"]
    assert (counts["repaired"], counts["noted"], counts["rois"]) == (1, 2, 4)
    entries = [(e["kind"], e["corrected"], e["lesion_views"]) for e in rois.manifest["notes"]]
    assert entries == [
        ("centre only, extent not given", True, 1),
        (MOST, False, 2),
        ("rows and columns have different pixel sizes", False, 1),
    ]
    assert rois.manifest["notes"][1]["items"] == ["P1/1/CC", "P2/1/CC"]
    screen = audit.format_summary([rois])
    assert "repaired     noted  left_out" in screen
    assert f"mine: 2 noted: {MOST} (the first: 99.9% of the values fit 9" in screen
    assert "mine: 1 repaired: centre only, extent not given" in screen


def test_strict_accepts_notes_and_rejects_corrections(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(home, row("P1", "a.npy"), row("P3", "c.npy"))
    strict = replace(OWN_IDS, strict=True)
    assert load(home, strict).index["noted"].tolist()[0] != ""
    (folder,) = (home / "cache").glob("mine-*")
    ready = ingest.load(f"shards:{folder}", home, ROI, {}, strict)
    assert len(ready) == 2

    def correcting(path: Path, *asked: int | None) -> object:
        return read_stored(path, *asked)._replace(notes=(Note("mended", "3", corrected=True),))

    monkeypatch.setattr(extract_rois, "read_stored", correcting)
    listed(home, row("P5", "a.npy"), row("P6", "c.npy"))
    with pytest.raises(InputError, match=r"strict: 2 of 2 .*line 2: .*a.npy.*: mended \(3\);"):
        load(home, strict)
    assert len(list((home / "cache").glob("mine-*"))) == 1
    assert load(home).index["note"].tolist() == ["mended (3)"] * 2
    with pytest.raises(InputError, match="strict: 2 of the ROIs were corrected"):
        load(home, strict)  # from the cache now
    assert load(home).manifest["counts"]["repaired"] == 2


def test_numbers_of_a_note_are_not_hidden_as_ids(home: Path) -> None:
    """Patient id 16 and lesion id 9 are in no sentence, but the bits of an image are."""
    listed(home, row("1600", "a.npy", lesion_id="bits"), row("9999", "b.npy", lesion_id="values"))
    rois = load(home, replace(OWN_IDS, pseudonymise=True))
    assert all("of the values fit 9 of 16 bits" in text for text in rois.index["noted"].tolist())
    assert [entry["lesion_views"] for entry in rois.manifest["notes"]] == [2]


def test_notes_are_cached_with_the_rois(home: Path) -> None:
    (view, *_) = manifest.read_collection(str(home / "m.csv")).views
    job = extract_rois.make_job([view], ROI, 1, home / "kept")
    first = extract_rois.extract(job)
    assert job.cache_path.is_file() and first.notes[0][0].kind == MOST
    assert extract_rois.extract(job).notes == first.notes
    for change in ("laterality", "view", "modality", "spacing_source"):
        other = extract_rois.make_job([replace(view, **{change: "L"})], ROI, 1, home / "kept")
        assert other.cache_path != job.cache_path
    for change in ({"frame": 1}, {"bits": 9}):
        assert extract_rois.make_job([replace(view, **change)], ROI, 1, home).cache_path.name != (
            job.cache_path.name
        )
    assert (
        extract_rois.make_job([view], ROI, 1, home / "kept", b"", False).cache_path
        != job.cache_path
    )


def test_changed_rules_make_shards_again_and_a_moved_table_does_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint() -> str:
        return make_plan("manifest", str(home / "m.csv"), ROI, {}, OWN_IDS).fingerprint

    first = fingerprint()
    collection = manifest.read_collection(str(home / "m.csv"))
    moved = tuple(replace(view, where="elsewhere.csv line 7") for view in collection.views)
    monkeypatch.setitem(SOURCES, "manifest", lambda path: replace(collection, views=moved))
    assert fingerprint() == first
    monkeypatch.setattr(extract_rois, "RULES_VERSION", extract_rois.RULES_VERSION + 1)
    assert fingerprint() != first


@pytest.mark.parametrize(
    ("change", "own", "error", "kinds"),
    [
        ({}, True, "", []),
        ({"pixel_um": (70.0, 70.0)}, True, "state pixel_um 100 and 70", []),
        ({"pixel_um": (100.0, 70.0)}, False, "state pixel_um 100 and 100;70", []),
        ({"bits": 12}, False, "state bits none and 12", []),
        ({"dark_is_dense": True}, True, "state polarity bright_dense and dark_dense", []),
        ({"curve": "ddsm_lumisys"}, False, "state curve none and ddsm_lumisys", []),
        ({"laterality": "R"}, True, "state laterality L and R", []),
        ({"laterality": "R"}, False, "", [row_consistency.DIFFERENT_SIDES]),
        ({"laterality": ""}, True, "", []),
        ({"view": "MLO"}, True, "", [row_consistency.DIFFERENT_VIEWS]),
        ({"modality": "SFM"}, True, "", [row_consistency.DIFFERENT_MODALITIES]),
    ],
)
def test_rows_of_one_image_must_agree(
    change: dict[str, object], own: bool, error: str, kinds: list[str]
) -> None:
    one = LesionView(
        **{"collection": "x", "image_path": Path("a.npy"), "box": (1, 1, 2, 2), "case_id": "1"},
        **{"lesion_id": "1", "view": "CC", "laterality": "L", "modality": "DM", "label": 1},
        **{"truth_source": "biopsy", "pixel_um": (100.0, 100.0), "spacing_source": "x"},
    )
    result, noted = row_consistency.check_rows([one, one, replace(one, **change)], own)
    assert error in result and bool(error) == bool(result)
    assert [note.kind for note in noted] == kinds


@pytest.mark.parametrize(
    ("pixel_um", "noted"),
    [
        ((94.0, 94.0), False),
        ((94.0009, 94.0), False),
        ((94.09, 94.09), True),
        ((94.0, 94.4), True),
        ((95.0, 95.0), False),  # another size: a matter of the rules on spacings
        ((100.0, 100.0), False),
        ((100.3, 100.3), True),
    ],
)
def test_a_pixel_size_that_differs_slightly_from_the_header_is_noted(
    pixel_um: tuple[float, float], noted: bool
) -> None:
    header = HeaderAttributes(
        spacings=(("ImagerPixelSpacing", 94.0, 94.0), ("PixelSpacing", 100.0, 100.0))
    )
    result = row_consistency.check_spacing(pixel_um, header)
    assert [note.kind for note in result] == [row_consistency.INEXACT_SPACING] * noted
    assert not any(note.corrected for note in result)
    assert row_consistency.check_spacing(pixel_um, None) == ()


def test_rows_that_disagree_are_left_out_with_their_lines(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = row("P1", "c.npy", bits="16")
    listed(home, first, first | {"lesion_id": "2", "bits": "15"}, row("P2", "a.npy"))
    rois = load(home)
    assert rois.index["case_id"].tolist() == ["P2"] and rois.manifest["counts"]["unusable"] == 2
    output = capsys.readouterr().err
    assert "m.csv line 2: " in output and "m.csv line 3: " in output
    assert "rows of this image state bits 16 and 15: correct the table" in output


def test_the_first_ten_errors_are_listed_with_lines_and_the_count(home: Path) -> None:
    for n in range(14):
        np.save(home / f"{n}.npy", gray(n))
    # Other images than those that the boxes are of.
    outside = [row(f"Q{n}", f"{n}.npy", box="190;900;199;910") for n in range(14)]
    listed(home, row("P1", "a.npy"), *outside)
    with pytest.raises(InputError) as error:
        load(home, replace(OWN_IDS, unusable="reject"))
    output = str(error.value)
    assert (
        output.startswith("mine: 14 of 15 lesion views cannot be used: (1) ") and "\n" not in output
    )
    for number in range(1, 11):
        assert f"({number}) {home}/m.csv line {number + 2}: " in output
    assert output.count("is outside the image") == 10 and "(11)" not in output
    assert "; and 4 more; or set config.data.unusable=" in output


def test_the_reason_of_a_rejected_view_includes_the_notes_on_its_image(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed(home, row("P1", "a.npy", box="190;900;199;910"), row("P3", "c.npy"))
    rois = load(home)
    ((_, reason),) = rois.manifest["left_out"]
    assert "is outside the image" in reason and f"; noted: {MOST} (99.9% of" in reason
    assert f"noted: {MOST}" in capsys.readouterr().err


def test_reasons_that_differ_in_numbers_are_counted_as_one() -> None:
    left_out = [("a", "up to 0.63 of 8"), ("b", "truth unknown"), ("c", "up to 0.7 of 8")]
    assert group_by_reason(left_out) == [
        ("up to 0.63 of 8", ["a", "c"]),
        ("truth unknown", ["b"]),
    ]


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize(
    ("root", "text", "written"),
    [
        (
            ".",
            "floats up to 0.635, on a scale of 0 to 1",
            "floats up to 0.635, on a scale of 0 to 1",
        ),
        ("data", "the pixel data is longer by 7", "the pixel data is longer by 7"),
        ("data", "data/x.dcm: no", "x.dcm: no"),
        ("data", "data: empty", "the folder: empty"),
        ("data", "other/data/x.dcm: no", "other/data/x.dcm: no"),
        ("/mine/data", "see /mine/data/x.dcm, in /mine/data", "see x.dcm, in the folder"),
    ],
)
def test_the_folder_is_removed_from_a_reason_if_it_is_a_path(
    root: str, text: str, written: str, hidden: bool
) -> None:
    names = privacy.CollectionNames(Collection("x", Path(root), ()), b"k" * 32 if hidden else None)
    assert names.text(text) == written


def test_one_error_is_unchanged_and_several_are_numbered() -> None:
    assert table_errors.join_errors(["only"]) == "only"
    assert table_errors.join_errors(["a", "b"]) == "(1) a; (2) b"
    assert table_errors.join_errors([str(n) for n in range(12)]).endswith("(10) 9; and 2 more")


@pytest.mark.parametrize(
    "tags",
    [
        {"PhotometricInterpretation": "MONOCHROME1", "ImagerPixelSpacing": [0.1, 0.1]},
        for_processing(),
        for_processing(PixelIntensityRelationshipSign=-1),
    ],
)
@pytest.mark.parametrize("change", [{"dark_is_dense": True}, {"curve": "ddsm_lumisys"}])
def test_gray_transformed_by_the_reader_is_not_inverted_again(
    tmp_path: Path, tags: dict[str, object], change: dict[str, object]
) -> None:
    path = write_dicom(tmp_path / "x.dcm", gray(5), **tags)
    plain = write_dicom(tmp_path / "y.dcm", gray(5), ImagerPixelSpacing=[0.1, 0.1])
    listed(tmp_path, row("P1", "x.dcm"), row("P2", "y.dcm"))
    made, stored = manifest.read_collection(str(tmp_path / "m.csv")).views
    assert made.image_path == path and stored.image_path == plain

    def error(view: LesionView) -> str:
        return extract_rois.extract(
            extract_rois.make_job([view], ROI, 1, tmp_path / "kept")
        ).errors[0]

    assert error(made) == error(stored) == ""
    assert "already defines this transform and it is applied; leave the column empty" in error(
        replace(made, **change)
    )
    assert error(replace(stored, **change)) == ""


def test_errors_in_a_published_table_are_noted_and_in_a_users_table_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dicom(tmp_path / "x.dcm", gray(6), ImagerPixelSpacing=[0.1, 0.1], ImageLaterality="R")
    write_dicom(tmp_path / "y.dcm", gray(7), ImagerPixelSpacing=[0.1, 0.1], ImageLaterality="L")
    listed(tmp_path, row("P1", "x.dcm", laterality="L"), row("P2", "y.dcm", laterality="L"))
    assert load(tmp_path).index["case_id"].tolist() == ["P2"]
    assert "laterality L, but the header states R (ImageLaterality)" in capsys.readouterr().err
    views = manifest.read_collection(str(tmp_path / "m.csv")).views
    published = Collection("mine", tmp_path, views, public_ids=True)
    monkeypatch.setitem(SOURCES, "inbreast", lambda path: published)
    rois = ingest.load("inbreast:there", tmp_path / "other", ROI, {}, OWN_IDS)
    assert rois.index["noted"].tolist()[0].startswith("the laterality differs from the header (L; ")
    assert rois.index["noted"].tolist()[1] == ""


def test_real_files_of_several_kinds(shared: Path, tmp_path: Path) -> None:
    """Images in JPEG 2000 and JPEG, a calibration profile, mini-MIAS, DMID, CDD-CESM."""
    data = shared / "data"
    if not (data / "reader_samples").is_dir():
        pytest.skip("the folder 'shared/data' with real films is not beside the checkout")
    names = ("MG1_J2KI", "MG1_JPLY", "MG_Explicit_Little")
    files = [data / "reader_samples" / f"{name}.dcm" for name in names]
    files += [data / "mini_mias/mdb001.pgm", next(iter(sorted((data / "dmid/png").iterdir())))]
    files += [next(iter(sorted((data / "cdd_cesm_dm/images").iterdir())))]
    for file in files:
        (tmp_path / file.name).symlink_to(file)
    scanned = {"pixel_um": "50", "spacing_source": "scanner", "modality": "SFM", "laterality": "L"}
    listed(
        tmp_path,
        row("N1", files[0].name, view="MLO", **scanned),
        row("N1", files[1].name, view="CC", **scanned),
        row("N2", files[2].name, pixel_um="250", spacing_source="fiducials"),
        *(row(file.stem, file.name, pixel_um="200") for file in files[3:]),
    )
    options = {"manifest": {"outside": True}}
    rois = ingest.load(f"manifest:{tmp_path}/m.csv", tmp_path / "c", ROI, options, OWN_IDS)
    kinds = {(e["kind"], e["lesion_views"], e["items"][0]) for e in rois.manifest["notes"]}
    assert kinds == {
        ("lossy compression", 2, "N1/1/MLO"),
        ("the view differs from the header", 1, "N1/1/CC"),
    }
    magnified, *constant = rois.manifest["left_out"]
    assert magnified == ["N2/1/CC", extract_rois.MAGNIFIED]
    # Where nothing but the black beside the breast is.
    assert [item for item, _ in constant][0] == "mdb001/1/CC" and len(constant) == 2
    assert all(reason.startswith(plausibility.ONE_GRAY) for _, reason in constant)
    assert rois.manifest["counts"]["noted"] == 2 and len(rois) == 3


def test_shards_made_before_notes_existed_open_and_are_counted(home: Path) -> None:
    load(home)
    (folder,) = (home / "cache").glob("mine-*")
    rois = shards.open_shards(folder)
    about = json.loads(json.dumps(rois.manifest))
    del about["notes"], about["counts"]["noted"]
    old = replace(rois, manifest=about)
    assert image_notes.format_lines(old) == [] and "mine" in audit.format_summary([old])


def test_notes_of_a_source_are_counted_by_their_sentence() -> None:
    one = LesionView(
        **{"collection": "x", "image_path": Path("a.npy"), "box": (1, 1, 2, 2), "case_id": "1"},
        **{"lesion_id": "1", "view": "CC", "laterality": "L", "modality": "DM", "label": 1},
        **{"truth_source": "biopsy", "pixel_um": (100.0, 100.0), "spacing_source": "x"},
        note="box clipped (3 rows); no extent",
        noted="JPEG mask cut at half",
    )
    result = image_notes.parse_notes(one)
    assert [(n.kind, n.detail, n.corrected) for n in result] == [
        ("box clipped", "3 rows", True),
        ("no extent", "", True),
        ("JPEG mask cut at half", "", False),
    ]
    written = image_notes.add_notes(one, [Note("a", "1"), Note("b", "2", corrected=True)])
    assert written.note == "box clipped (3 rows); no extent; b (2)"
    assert written.noted == "JPEG mask cut at half; a (1)"
    twice = image_notes.count_notes(
        [("P1", result), ("P2", result[:1]), ("P3", [*result[:1], *result[:1]])]
    )
    assert [(e["kind"], e["lesion_views"]) for e in twice][0] == ("box clipped", 3)
