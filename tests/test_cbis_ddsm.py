"""Test the CBIS-DDSM reader: the real tables, all layouts, masks found by content, every row
accounted for."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from kit.cbis_ddsm import LAYOUTS, Lesion, make_cbis_ddsm, table_text, write_images

from mtl_jax.data import ingest
from mtl_jax.data.sources import cbis_ddsm, cbis_ddsm_masks
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import Collection, InputError

PLAIN = RoiSettings(correct=False)
TOOL = Path(__file__).resolve().parents[1] / "tools" / "make_shards.py"
ALL = ("mass-train", "mass-test", "calc-train", "calc-test")


def read_collection(folder: Path, *parts: str, conflicts: str = "leave_out") -> Collection:
    return cbis_ddsm.read_collection(
        str(folder),
        parts=parts or ("mass-train",),
        pixel_um=50.0,
        conflicts=conflicts,
        folder=folder.parent / "cache",
    )


def film(box: tuple[int, int, int, int], shape: tuple[int, int] = (700, 600)) -> np.ndarray:
    """16-bit film with a bright ellipse that fills `box`."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    top, left, bottom, right = box
    y = (rows - (top + bottom) / 2) / (bottom - top)
    x = (columns - (left + right) / 2) / (right - left)
    noise = np.random.default_rng(0).integers(0, 2000, shape)
    return np.where(y**2 + x**2 < 0.25, 50000, 15000) + noise


def small_lesion(box: tuple[int, int, int, int] = (10, 12, 20, 30), **facts: object) -> Lesion:
    return Lesion(film(box, (60, 50)), box, **facts)


# Real tables


@pytest.fixture
def tables(shared: Path) -> Path:
    return shared / "data" / "cbis_ddsm_csv"


@pytest.mark.parametrize(
    ("part", "rows", "disputed"),
    [
        ("mass-train", 1318, {"P_00419 LEFT-mass-1", "P_00419 LEFT-mass-2"}),
        ("mass-test", 378, {"P_01623 RIGHT-mass-1"}),
        ("calc-train", 1546, set()),
        ("calc-test", 326, set()),
    ],
)
def test_every_row_of_the_real_tables_is_listed(
    tables: Path, tmp_path: Path, part: str, rows: int, disputed: set[str]
) -> None:
    collection = cbis_ddsm.read_collection(
        str(tables), parts=(part,), pixel_um=50.0, conflicts="leave_out", folder=tmp_path
    )
    assert (len(collection.views), len(collection.left_out)) == (0, rows)
    assert len({item for item, _ in collection.left_out}) == rows
    disputed_lesions = {
        re.sub(r"^\S+ | \w+$", "", item)
        for item, reason in collection.left_out
        if reason == "malignant in one view, benign in another"
    }
    assert disputed_lesions == disputed
    decision = next(text for text in collection.decisions if "malignant in one view" in text)
    assert decision.endswith(": " + (", ".join(sorted(disputed)) or "none"))


def test_counts_of_the_real_tables_by_class_and_patient(tables: Path) -> None:
    rows_of = {part: cbis_ddsm.tables.read_tables(tables, (part,)) for part in ALL}
    counts = {
        part: [sum(r.pathology == name for r in rows) for name in cbis_ddsm.tables.PATHOLOGIES]
        for part, rows in rows_of.items()
    }
    assert counts["mass-train"] == [637, 577, 104] and counts["mass-test"] == [147, 194, 37]
    patients = {part: {row.patient for row in rows} for part, rows in rows_of.items()}
    assert [len(patients[part]) for part in ALL] == [691, 201, 602, 151]
    assert len({(r.patient, r.lesion) for r in rows_of["mass-train"]}) == 782
    assert len({(r.patient, r.lesion) for r in rows_of["mass-test"]}) == 223
    assert len({r.image for r in rows_of["mass-train"]}) == 1231
    assert sum(r.crop != r.mask for part in ALL[:2] for r in rows_of[part]) == 103
    assert not any(cell != cell.strip() for r in rows_of["calc-train"] for cell in vars(r).values())


def test_real_patients_in_training_and_test_stay_in_the_test_set(
    tables: Path, tmp_path: Path
) -> None:
    collection = cbis_ddsm.read_collection(
        str(tables), parts=ALL, pixel_um=50.0, conflicts="malignant", folder=tmp_path
    )
    decisions = [text.removeprefix("cbis_ddsm: ") for text in collection.decisions]
    assert "13 patients are in both calc-test and mass-train" in decisions
    assert "18 patients are in both calc-train and mass-test" in decisions
    leaked_items = [item for item, reason in collection.left_out if "official test set" in reason]
    assert len({item.split()[1] for item in leaked_items}) == 31
    assert {item.split()[0] for item in leaked_items} == {"mass-train", "calc-train"}
    assert any(f"{len(leaked_items)} training rows of 31" in text for text in decisions)
    assert len(collection.left_out) == 1318 + 378 + 1546 + 326


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_of_real_rows_are_found_in_every_layout(
    tables: Path, tmp_path: Path, layout: str
) -> None:
    name = "mass_case_description_train_set.csv"
    home = tmp_path / "in"
    home.mkdir()
    (home / name).write_bytes((tables / name).read_bytes())
    with (tables / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"film": "image", "crop": "cropped image", "mask": "ROI mask"}
    columns = {kind: f"{name} file path" for kind, name in columns.items()}
    three_series = [
        row for row in rows if len({row[name].split("/")[2] for name in columns.values()}) == 3
    ]
    chosen = [*rows[:4], *three_series[:2]]
    lesions = []
    for number, row in enumerate(chosen):
        lesion = small_lesion((10 + number, 12, 20 + number, 30), view=row["image view"])
        paths = {kind: row[column].strip() for kind, column in columns.items()}
        lesions.append(
            SimpleNamespace(pixels=lesion.pixels, view=lesion.view, path=paths.__getitem__)
        )
    write_images(home, lesions, layout)
    collection = read_collection(home)
    assert [(v.case_id, v.view) for v in collection.views] == [
        (row["patient_id"], row["image view"]) for row in chosen
    ]
    assert [v.box[0] for v in collection.views] == [10 + number for number in range(6)]
    assert [v.label for v in collection.views] == [
        int(r["pathology"] == "MALIGNANT") for r in chosen
    ]
    assert len(collection.views) + len(collection.left_out) == 1318


# Simulated copies


@pytest.mark.parametrize(
    ("layout", "pixel_um"), [*((name, 50.0) for name in LAYOUTS), ("tables", 42.0), ("flat", 43.5)]
)
def test_a_lesion_is_in_the_middle_of_its_roi(tmp_path: Path, layout: str, pixel_um: float) -> None:
    boxes = {"CC": (300, 90, 360, 190), "MLO": (17, 500, 101, 560)}
    lesions = [
        Lesion(film(box), box, view=view, mask_scale=scale, separate_series=separate_series)
        for (view, box), scale, separate_series in zip(
            boxes.items(), (1, 0.87), (True, False), strict=True
        )
    ]
    make_cbis_ddsm(tmp_path / "in", lesions, layout)
    options = {"parts": ("mass-train",), "pixel_um": pixel_um, "conflicts": "leave_out"}
    options |= {"folder": tmp_path / "cache"}
    spec = f"cbis_ddsm:{tmp_path / 'in'}"
    rois = ingest.load(spec, tmp_path / "cache", PLAIN, {"cbis_ddsm": options})
    assert list(rois.index["view"]) == ["CC", "MLO"]
    assert set(rois.index["lesion_id"]) == {"LEFT-mass-1"}
    assert set(rois.index["split"]) == {"train"}
    for roi in rois.shards[0]:
        rows, columns = np.nonzero(roi > (float(roi.min()) + float(roi.max())) / 2)
        near = (abs(rows - 64) < 15) & (abs(columns - 64) < 15)
        assert abs(rows[near].mean() + 0.5 - 64) <= 1 and abs(columns[near].mean() + 0.5 - 64) <= 1
    method = {"nbia": "metadata.csv", "bare": "DICOM header"}.get(layout, "folder name")
    assert any(f"series found by: {method} 5" in text for text in rois.manifest["decisions"])


def test_facts_of_the_tables_are_read(tmp_path: Path) -> None:
    lesions = [
        small_lesion(),
        small_lesion(number=2, pathology="BENIGN"),
        small_lesion(view="MLO"),
        small_lesion(patient="P_00002", side="RIGHT", pathology="BENIGN_WITHOUT_CALLBACK"),
        small_lesion(patient="P_00002", side="RIGHT", view="MLO", pathology="BENIGN"),
        small_lesion(patient="P_00003", part="calc-test"),
    ]
    make_cbis_ddsm(tmp_path / "in", lesions)
    collection = read_collection(tmp_path / "in", "mass-train", "calc-test")
    assert collection.left_out == ()
    facts = [
        (v.case_id, v.lesion_id, v.view, v.label, v.truth_source, v.split) for v in collection.views
    ]
    assert facts == [
        ("P_00001", "LEFT-mass-1", "CC", 1, "biopsy", "train"),
        ("P_00001", "LEFT-mass-2", "CC", 0, "followup", "train"),
        ("P_00001", "LEFT-mass-1", "MLO", 1, "biopsy", "train"),
        ("P_00002", "RIGHT-mass-1", "CC", 0, "followup", "train"),
        ("P_00002", "RIGHT-mass-1", "MLO", 0, "followup", "train"),
        ("P_00003", "LEFT-calc-1", "CC", 1, "biopsy", "test"),
    ]
    assert {(v.box, v.pixel_um, v.spacing_source, v.note) for v in collection.views} == {
        ((10, 12, 20, 30), (50, 50), "assumed", "")
    }
    assert any(
        "50 um is assumed (data.cbis_ddsm.pixel_um)" in text for text in collection.decisions
    )


def test_disputed_lesions_and_patients_in_both_sets(tmp_path: Path) -> None:
    lesions = [
        small_lesion(),
        small_lesion(view="MLO", pathology="BENIGN"),
        small_lesion(patient="P_00002"),
        small_lesion(patient="P_00002", part="calc-test"),
    ]
    make_cbis_ddsm(tmp_path / "in", lesions)
    collection = read_collection(tmp_path / "in", "mass-train", "calc-test")
    assert [(v.case_id, v.split) for v in collection.views] == [("P_00002", "test")]
    disputed, in_test_set = "malignant in one view, benign in another", "official test set too"
    assert [item for item, reason in collection.left_out if reason == disputed] == [
        "mass-train P_00001 LEFT-mass-1 CC",
        "mass-train P_00001 LEFT-mass-1 MLO",
    ]
    assert [item for item, reason in collection.left_out if in_test_set in reason] == [
        "mass-train P_00002 LEFT-mass-1 CC"
    ]
    collection = read_collection(tmp_path / "in", "mass-train", conflicts="malignant")
    assert [(v.label, v.truth_source) for v in collection.views] == [(1, "biopsy")] * 3
    assert [bool(v.note) for v in collection.views] == [False, True, False]


def test_masks_are_found_by_content(tmp_path: Path) -> None:
    box = (40, 48, 80, 120)
    other_crop = film((160, 20, 200, 80), (240, 200))[20:60, 80:152]
    kinds = {
        "swapped": {"swapped": True},
        "two series": {"separate_series": True},
        "two series, swapped": {"separate_series": True, "swapped": True},
        "larger": {"mask_scale": 1.15},
        "smaller": {"mask_scale": 0.87},
        "wrong crop": {"crop": other_crop},
        "wrong crop, rescaled": {"crop": other_crop, "mask_scale": 1.15},
        "small crop": {"crop": other_crop[:4, :4]},
        "small crop, rescaled": {"crop": other_crop[:4, :4], "mask_scale": 1.15},
        "too small": {"mask_scale": 0.5},
        "empty": {"box": (0, 0, 0, 0), "crop": other_crop},
        "everything": {"box": (0, 0, 240, 200), "crop": other_crop},
    }
    lesions = [
        Lesion(film(box, (240, 200)), **({"box": box} | facts), patient=f"P_{number:05d}")
        for number, facts in enumerate(kinds.values())
    ]
    make_cbis_ddsm(tmp_path / "in", lesions)
    collection = read_collection(tmp_path / "in")
    names = list(kinds)
    notes = {names[int(v.case_id[2:])]: v.note for v in collection.views}
    assert notes == {
        "swapped": "",
        "two series": "",
        "two series, swapped": "",
        "larger": "mask rescaled, confirmed by the crop (276x230 to 240x200)",
        "smaller": "mask rescaled, confirmed by the crop (209x174 to 240x200)",
        "wrong crop": "crop differs from the film at the mask",
        "small crop": "",
        "small crop, rescaled": "mask rescaled, no crop to confirm it (276x230 to 240x200)",
    }
    for view in collection.views:
        np.testing.assert_allclose(view.box, box, atol=0 if "rescaled" not in view.note else 1)
    reasons = {names[int(item.split()[1][2:])]: reason for item, reason in collection.left_out}
    assert reasons == {
        "wrong crop, rescaled": "mask of another size than the film (276x230 to 240x200), and the"
        " crop does not match",
        "too small": "no mask among its files: two values and about the film's size",
        "empty": "its mask is empty",
        "everything": "its mask covers most of the film or spans it between two borders",
    }
    assert any(
        text == "cbis_ddsm: mask rescaled, confirmed by the crop: 2 lesion views"
        for text in collection.decisions
    )


def test_each_axis_is_rescaled_by_its_own_factor(tmp_path: Path) -> None:
    # As Calc-Test_P_00353: 4688x3088 and 4624x3056, in other proportions.
    lesion = Lesion(film((100, 60, 140, 120), (400, 300)), (100, 60, 140, 120))
    make_cbis_ddsm(tmp_path / "in", [lesion])
    (path,) = (tmp_path / "in").rglob("*_1/*/*/000001.dcm")
    mask = np.zeros((440, 270), np.uint8)
    mask[110:154, 54:108] = 255
    rescaled_lesion = Lesion(lesion.film, lesion.box)
    rescaled_lesion.mask = lambda: mask
    write_images(tmp_path / "in", [rescaled_lesion], "tables")
    assert path.is_file()
    (view,) = read_collection(tmp_path / "in").views
    np.testing.assert_allclose(view.box, lesion.box, atol=1e-9)
    assert view.note == "mask rescaled, confirmed by the crop (440x270 to 400x300)"


def test_a_mask_is_read_as_stored_whatever_its_header_says(tmp_path: Path) -> None:
    lesion = Lesion(film((100, 60, 140, 120), (400, 300)), (100, 60, 140, 120))
    home = make_cbis_ddsm(tmp_path / "in", [lesion])
    path = home / lesion.path("mask")
    header = pydicom.dcmread(path)
    header.PhotometricInterpretation = "MONOCHROME1"
    header.save_as(path)
    assert [view.box for view in read_collection(home).views] == [lesion.box]


def test_windows_path_separators_are_read(tmp_path: Path) -> None:
    home = make_cbis_ddsm(tmp_path / "in", [small_lesion()])
    table = home / "mass_case_description_train_set.csv"
    table.write_text(table.read_text().replace("/", "\\"))
    assert [(view.box, view.noted) for view in read_collection(home).views] == [
        (small_lesion().box, "")
    ]


def test_a_row_listed_twice_counts_once(tmp_path: Path) -> None:
    home = make_cbis_ddsm(
        tmp_path / "in", [small_lesion(), small_lesion(view="MLO"), small_lesion()]
    )
    collection = read_collection(home)
    assert [view.view for view in collection.views] == ["CC", "MLO"]
    assert collection.left_out == (
        (
            "mass-train P_00001 LEFT-mass-1 CC",
            "duplicate of an earlier row: same lesion, same view",
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "noted"),
    [
        (",LEFT,CC,", ",RIGHT,CC,", True),
        (",LEFT,CC,", ",LEFT,MLO,", True),
        ("\nP_00001,", "\nP_00009,", True),
        (",4,MALIGNANT,", ",3,MALIGNANT,", False),
    ],
)
def test_a_row_that_contradicts_the_folder_of_its_film_is_noted(
    tmp_path: Path, old: str, new: str, noted: bool
) -> None:
    home = make_cbis_ddsm(tmp_path / "in", [small_lesion()])
    table = home / "mass_case_description_train_set.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    collection = read_collection(home)
    note = "the film's folder names another patient, side or view than the row"
    assert [view.noted for view in collection.views] == [note if noted else ""]
    assert any(text.endswith(f"{note}: 1 lesion views") for text in collection.decisions) == noted


def test_one_message_lists_all_errors_of_a_table(tmp_path: Path) -> None:
    lesions = [small_lesion(patient=f"P_{number:05d}") for number in range(12)]
    home = make_cbis_ddsm(tmp_path / "in", lesions)
    table = home / "mass_case_description_train_set.csv"
    table.write_text(table.read_text().replace(",LEFT,", ",LEFTS,"))
    with pytest.raises(
        InputError, match=r"train_set.csv: 12 errors: \(1\) line 3: .*; and 2 more$"
    ):
        read_collection(home)


def test_two_masks_missing_files_and_damaged_files(tmp_path: Path) -> None:
    lesions = [small_lesion(patient=f"P_{number:05d}") for number in range(6)]
    home = make_cbis_ddsm(tmp_path / "in", lesions)
    paths = {
        kind: [home / lesion.path(kind) for lesion in lesions] for kind in ("film", "crop", "mask")
    }
    duplicate = small_lesion((30, 12, 40, 30), patient="P_00000")
    write_images(tmp_path / "duplicate", [duplicate], "tables")
    (tmp_path / "duplicate" / duplicate.path("mask")).replace(
        paths["mask"][0].with_name("000002.dcm")
    )
    paths["film"][1].unlink()
    paths["mask"][2].unlink()
    paths["crop"][2].unlink()
    paths["crop"][3].unlink()
    paths["mask"][4].write_bytes(paths["mask"][4].read_bytes()[:400])
    paths["film"][5].with_name("000001.dcm").write_bytes(paths["film"][5].read_bytes())
    collection = read_collection(home)
    assert [v.case_id for v in collection.views] == ["P_00003"]
    reasons = {item.split()[1]: reason for item, reason in collection.left_out}
    assert reasons["P_00000"] == "two different masks"
    assert reasons["P_00001"] == "the film is not in the folder"
    assert reasons["P_00002"] == "the mask is not in the folder"
    assert reasons["P_00004"].startswith("000001.dcm: ")
    assert reasons["P_00005"] == "expected one file of the film, found 2"
    assert str(tmp_path) not in repr(collection.left_out)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_uid_of_folders_or_headers_is_written(tmp_path: Path, layout: str) -> None:
    boxes = [(10, 12, 20, 30 + number) for number in range(3)]
    lesions = [small_lesion(box, patient=f"P_{number:05d}") for number, box in enumerate(boxes)]
    home = make_cbis_ddsm(tmp_path / "in", lesions, layout)
    uids = {uid for lesion in lesions for kind in ("film", "crop", "mask")
            for uid in lesion.path(kind).split("/")[1:3]}  # fmt: skip
    damaged = home / sorted(uids)[0] / "x" / "1-1.dcm"  # in no series, so listed as a path
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(b"not DICOM")
    out = tmp_path / "out"
    tool = [sys.executable, TOOL, f"cbis_ddsm:{home}", "--out", out]
    done = subprocess.run(
        [*tool, "--set", "cbis_ddsm.parts=mass-train"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) >= 4
    for path in written:
        text = str(path.relative_to(out)) + path.read_bytes().decode("latin-1") + done.stdout
        assert not [uid for uid in uids if uid in text] and "1.3.6.1" not in text, path
    with (out / "cbis_ddsm" / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = [row["image"] for row in rows if row["decision"] != "left out"]
    assert len(set(images)) == 3  # distinct, and a user with the files can find them
    if layout == "flat":
        digests = {hashlib.sha256(uid.encode()).hexdigest()[:12] for uid in uids}
        assert all(name.split("/")[0].removeprefix("uid-") in digests for name in images)
    assert any(row["item"].endswith("x/1-1.dcm") for row in rows)


def test_a_damaged_header_is_named_where_headers_are_read(tmp_path: Path) -> None:
    home = make_cbis_ddsm(tmp_path / "in", [small_lesion()], "bare")
    (home / "other").mkdir()
    (home / "other" / "1-1.dcm").write_bytes(b"not DICOM")
    collection = read_collection(home)
    assert len(collection.views) == 1
    assert collection.left_out == (("other/1-1.dcm", "not a readable DICOM file"),)


def test_lesion_locations_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_cbis_ddsm(tmp_path / "in", [small_lesion(), small_lesion(view="MLO")])
    first = read_collection(home)
    (cache,) = (tmp_path / "cache").iterdir()
    assert "P_0" not in cache.read_text() and "dcm" not in cache.read_text()
    located = []

    def locate_lesion(film: Path, candidates: list[Path]) -> cbis_ddsm_masks.LesionLocation:
        located.append(film)
        return cbis_ddsm_masks.LesionLocation((1.0, 2.0, 3.0, 4.0), "")

    monkeypatch.setattr(cbis_ddsm_masks, "locate_lesion", locate_lesion)
    assert read_collection(home) == first and not located
    # The lesion of a changed file is located again; a damaged cache is ignored.
    write_images(home, [small_lesion((5, 5, 11, 11), view="MLO")], "tables")
    assert read_collection(home).views[0] == first.views[0] and len(located) == 1
    for damage in ("{", "[1]", json.dumps({"a": 1}), json.dumps({"a": [["x"], ""]})):
        cache.write_text(damage)
        assert len(read_collection(home).views) == 2


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("pathology", "truth", r"missing column pathology; download it again"),
        ("LEFT", "LEFTISH", r"line 3: left or right breast 'LEFTISH' is invalid: expected LEFT or"),
        ("MALIGNANT", "UNKNOWN", "line 3: pathology 'UNKNOWN' is invalid: expected one of MALIGN"),
        ("P_00001,", "..,", "line 3: patient id '..' is invalid: expected P_ and five digits"),
        (",3,LEFT", ",LEFT", "line 3: 13 cells under 14 columns"),
        ("/1.3", "/x", "line 3: path 'Mass-.*' is invalid: expected folder/study/series/file"),
        ("LEFT,CC", "LEFT\n,CC", "line 2: 3 cells under 14 columns"),
        ("mass", "m\xff", "not a CSV in UTF-8"),
    ],
)
def test_a_damaged_table_gives_a_one_line_error(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    text = table_text([small_lesion()], "mass").replace(old, new)
    (tmp_path / "mass_case_description_train_set.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"train_set\.csv.*{reason}"):
        read_collection(tmp_path)


def test_invalid_options_and_folders_are_rejected(tmp_path: Path) -> None:
    options = {"parts": ("mass-train",), "pixel_um": 50.0, "conflicts": "leave_out"}
    invalid = {
        "parts=() is invalid": {"parts": ()},
        "parts=('mass-all',) is invalid: expected some of mass-train, mass-test": {
            "parts": ("mass-all",)
        },
        "is below 10 um: the unit is um, not mm": {"pixel_um": 0.05},
        "pixel_um=250 is invalid: expected 10 to 200 um": {"pixel_um": 250.0},
        "conflicts='both' is invalid: expected one of leave_out, malignant": {"conflicts": "both"},
        "no mass_case_description_train_set.csv in": {},
    }
    for reason, change in invalid.items():
        with pytest.raises(InputError, match=re.escape(reason)):
            cbis_ddsm.read_collection(str(tmp_path), folder=tmp_path, **(options | change))
    with pytest.raises(InputError, match="no such folder"):
        cbis_ddsm.read_collection(str(tmp_path / "absent"), folder=tmp_path, **options)
    make_cbis_ddsm(tmp_path, [small_lesion()], "nbia")
    (tmp_path / "metadata.csv").write_bytes(b'Series UID,File Location\n"\xff')
    with pytest.raises(InputError, match=r"metadata\.csv: not a CSV in UTF-8"):
        read_collection(tmp_path)


def fuzz(folder: Path, n_mutations: int, seed: int) -> None:
    """Change bytes of tables and images: a one-line error, or every row is accounted for."""
    lesions = [
        small_lesion(),
        small_lesion(view="MLO", mask_scale=0.9),
        small_lesion(patient="P_00002"),
    ]
    home = make_cbis_ddsm(folder / "in", lesions, "nbia")
    targets = sorted(home.rglob("*.csv")) * 3 + sorted(home.rglob("*.dcm"))
    random = np.random.default_rng(seed)
    rejected = 0
    for number in range(n_mutations):
        path = targets[number % len(targets)]
        original = path.read_bytes()
        data = bytearray(original)
        for _ in range(random.integers(1, 6)):
            start = random.integers(min(len(data), 900 if path.suffix == ".dcm" else len(data)))
            kind = random.integers(4)
            if kind < 2:
                data[start] = random.integers(256)
            elif kind == 2:
                del data[start : start + random.integers(1, 20)]
            else:
                data[start:start] = random.bytes(random.integers(1, 20))
        path.write_bytes(data)
        try:
            collection = read_collection(home)
            assert len(collection.views) + len(collection.left_out) >= 1
            assert all("\n" not in reason for _, reason in collection.left_out)
        except InputError as error:
            rejected += 1
            assert "\n" not in str(error)
        path.write_bytes(original)
    assert 0 < rejected < n_mutations


@pytest.mark.filterwarnings("ignore")  # pydicom warns about repairs of a damaged header
def test_mutated_collections_are_accounted_for(tmp_path: Path) -> None:
    fuzz(tmp_path, 300, seed=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_mutated_collections_are_accounted_for(tmp_path: Path) -> None:
    fuzz(tmp_path, 4000, seed=2)


def test_specks_of_a_mask_are_ignored_and_noted(tmp_path: Path) -> None:
    """The crop was cut by the box of all components of the mask and still confirms the location."""
    rng = np.random.default_rng(8)
    film = rng.integers(0, 4096, (300, 200)).astype(np.uint16)
    mask = np.zeros_like(film)
    mask[100:150, 60:120] = mask[290, 190] = 255
    for name, pixels in (("film", film), ("mask", mask), ("crop", film[100:291, 60:191])):
        np.save(tmp_path / f"{name}.npy", pixels)
    files = [tmp_path / f"{name}.npy" for name in ("mask", "crop")]
    location = cbis_ddsm_masks.locate_lesion(tmp_path / "film.npy", files)
    assert location.box == (100, 60, 150, 120)
    assert location.note == (
        "mask with components smaller than a tenth of its largest: they are ignored"
        " (1 of up to 1 pixels, the largest of 3000)"
    )
