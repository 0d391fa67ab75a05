"""Test the readers of mini-MIAS and manifests: facts, quirks, and a one-line error for bad rows."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from kit.lesion import film, offset
from PIL import Image
from test_imaging import write_dicom, write_pgm

from mtl_jax.data import ingest
from mtl_jax.data.sources import SOURCES, manifest, mini_mias
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import Collection, InputError

HERE = Path(__file__).resolve().parents[1]
MINI_MIAS = HERE.parent / "shared" / "data" / "mini_mias"
needs_films = pytest.mark.skipif(
    not MINI_MIAS.is_dir(), reason="the mini-MIAS films are not beside this folder"
)
MASSES = ("CIRC", "SPIC", "MISC")
ROI = RoiSettings()

INFO = """MIAS free text: 1st column: MIAS database reference number.
                CIRC - Well-defined/circumscribed masses
mdb001 G CIRC B 535 425 197
mdb002 G CIRC M 5 69 30
mdb003 D NORM
mdb005 F CIRC B 477 133 30
mdb005 F ARCH M 500 168 26
mdb005 F SPIC M 510 170 26
mdb059 F CIRC B
mdb212 G CALC B 687 882 3
mdb216 D CALC M *NOTE 3*
mdb300 D MISC B 500 500 20
"""


def mias_folder(folder: Path, info: str = INFO) -> Path:
    (folder / "Info.txt").write_text(info)
    for number in (1, 2, 5, 59):
        write_pgm(folder / f"mdb{number:03d}.pgm", np.zeros((1024, 1024)), 255)
    return folder


def test_mini_mias_table(tmp_path: Path) -> None:
    collection = mini_mias.read_collection(str(mias_folder(tmp_path)), classes=MASSES)
    assert [view.lesion_id for view in collection.views] == [
        *("mdb001-1", "mdb002-1", "mdb005-1", "mdb005-3")
    ]
    first, second, third, fourth = collection.views
    # x 535, y 425 from the bottom: column 535, row 598; the centre of the pixel is half a pixel on.
    assert first.box == (598.5 - 197, 535.5 - 197, 598.5 + 197, 535.5 + 197)
    assert [view.case_id for view in collection.views] == ["p001", "p001", "p003", "p003"]
    assert [view.laterality for view in collection.views] == ["R", "L", "R", "R"]
    assert [view.label for view in collection.views] == [0, 1, 0, 1]
    assert {view.view for view in collection.views} == {"MLO"}
    assert {view.bits for view in collection.views} == {8}
    assert {view.pixel_um for view in collection.views} == {(200.0, 200.0)}
    assert second.box[1] < 0 and "beyond the image" in second.note
    assert "beyond" not in first.note + third.note + fourth.note
    assert dict(collection.left_out) == {
        "mdb003-1": "normal film",
        "mdb005-2": "class ARCH not chosen",
        "mdb059-1": "CIRC without coordinates",
        "mdb212-1": "class CALC not chosen",
        "mdb216-1": "CALC without coordinates",
        "mdb300-1": "image mdb300.pgm is not in the folder",
    }


@needs_films
def test_real_mini_mias_has_58_masses() -> None:
    collection = mini_mias.read_collection(str(MINI_MIAS), classes=MASSES)
    labels = [view.label for view in collection.views]
    assert (len(labels), sum(labels)) == (58, 20)
    assert len({view.case_id for view in collection.views}) == 53
    # The table has 330 rows; every one is a view or left out.
    assert len(collection.left_out) == 330 - 58
    reasons = [reason for _, reason in collection.left_out]
    assert reasons.count("normal film") == 207
    assert reasons.count("CALC without coordinates") == 3
    wider = mini_mias.read_collection(str(MINI_MIAS), classes=(*MASSES, "ARCH", "ASYM"))
    assert {v.lesion_id for v in collection.views} <= {v.lesion_id for v in wider.views}


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (
            INFO + "mdb310 G BLOB B 1 2 3\n",
            "Info.txt line 13: class 'BLOB' is invalid: expected CIRC",
        ),
        (INFO + "mdb001 G CIRC B 1 2\n", "Info.txt line 13: expected x, y and radius"),
        (INFO + "mdb001 G CIRC X 1 2 3\n", "Info.txt line 13: expected severity"),
        ("nothing\n", "no row begins with"),
    ],
)
def test_a_damaged_info_txt_is_rejected(tmp_path: Path, info: str, reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        mini_mias.read_collection(str(mias_folder(tmp_path, info)), classes=MASSES)


def test_a_repeated_circle_of_mini_mias_counts_once(tmp_path: Path) -> None:
    info = INFO + "mdb002 D CIRC M 5 69 30\n"
    collection = mini_mias.read_collection(str(mias_folder(tmp_path, info)), classes=MASSES)
    assert len(collection.views) == 4
    assert ("mdb002-2", "duplicate of an earlier circle of the film") in collection.left_out
    info = INFO + "mdb002 G CIRC B 5 69 30\nmdb001 G CIRC X 1 2 3\n"
    with pytest.raises(InputError) as failure:
        mini_mias.read_collection(str(mias_folder(tmp_path, info)), classes=MASSES)
    text = str(failure.value)
    assert "Info.txt: 2 errors: (1) line 13: an earlier row has another severity for this" in text
    assert "(2) line 14: expected severity" in text


def test_mini_mias_without_folder_table_or_class_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder .*absent"):
        mini_mias.read_collection(str(tmp_path / "absent"), classes=MASSES)
    with pytest.raises(InputError, match="no Info.txt in"):
        mini_mias.read_collection(str(tmp_path), classes=MASSES)
    for classes in (("CIRC", "MASS"), ()):
        with pytest.raises(InputError, match="expected some of CIRC, SPIC, MISC, ARCH, ASYM"):
            mini_mias.read_collection(str(mias_folder(tmp_path)), classes=classes)


def code_blocks(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", (HERE / "docs" / page).read_text(), re.M | re.S)


def test_the_worked_example_of_the_manual_runs_as_printed(tmp_path: Path) -> None:
    table, session = code_blocks("manifest.md")[:2]
    home = tmp_path / "mine"
    for patient in ("P001", "P002", "P003", "P004"):
        (home / patient).mkdir(parents=True)
    (home / "lesions.csv").write_text(table)
    gray = np.random.default_rng(0).integers(0, 4096, (900, 800)).astype(np.uint16)
    Image.fromarray(gray).save(home / "P001/LCC.png")
    Image.fromarray(gray).save(home / "P004/LCC.png")
    tifffile.imwrite(home / "P001/LMLO.tif", gray[::-1, ::-1])
    write_dicom(home / "P002/RCC.dcm", gray[::-1].copy(), ImagerPixelSpacing=["0.07", "0.07"])
    write_pgm(home / "P003/RMLO.pgm", gray[:, ::-1], 4095)
    mask = np.zeros((900, 800), np.uint8)
    mask[200:300, 500:540] = 255
    Image.fromarray(mask).save(home / "P003/RMLO_mask.png")

    command, _, expected = session.partition("\n")
    words = command.removeprefix("$ python ").split()
    done = subprocess.run(
        [sys.executable, HERE / words[0], *words[1:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("mtl_jax: mine: contact sheet of the images and ROIs: shards/")
    assert done.stdout == expected

    collection = manifest.read_collection(str(home / "lesions.csv"))
    assert [view.box for view in collection.views] == [
        (410, 300, 510, 420),
        (440, 290, 560, 410),
        (400, 290, 500, 380),
        (200, 500, 300, 540),
    ]
    assert collection.left_out == (("P004/1/CC", "truth unknown"),)
    assert collection.views[2].pixel_um == (70.0, 70.0)
    assert [view.spacing_source for view in collection.views][1:3] == [
        "manifest",
        "ImagerPixelSpacing",
    ]
    assert [view.label for view in collection.views] == [1, 1, 0, 0]


BASE = {
    "dataset": "mine",
    "patient_id": "P1",
    "lesion_id": "1",
    "view": "CC",
    "image_path": "a.pgm",
    "truth": "benign",
    "pixel_um": "100",
    "box": "10;20;30;60",
}


def read_manifest(folder: Path, *rows: dict[str, str]) -> Collection:
    write_pgm(folder / "a.pgm", np.zeros((100, 120)), 4095)
    write_pgm(folder / "b.pgm", np.zeros((90, 120)), 255)
    columns = list(rows[0])
    lines = [",".join(columns)]
    lines += [",".join(f'"{row[column]}"' for column in columns) for row in rows]
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return manifest.read_collection(str(folder / "m.csv"))


@pytest.mark.parametrize(
    ("change", "box"),
    [
        ({"box": "", "circle": "40;50;10"}, (30, 40, 50, 60)),
        ({"box": "", "centre": "40.5;50"}, (40.5, 50, 40.5, 50)),
        ({"box": "", "polygon": "1,2;3,9;8,4"}, (1, 2, 8, 9)),
        ({"coord_origin": "bottom_left", "box": "90;20;70;60"}, (10, 20, 30, 60)),
        ({"coord_origin": "bottom_left", "box": "", "circle": "90;50;5"}, (5, 45, 15, 55)),
    ],
)
def test_locations(tmp_path: Path, change: dict[str, str], box: tuple[float, ...]) -> None:
    assert read_manifest(tmp_path, BASE | change).views[0].box == box


LOCATIONS = {
    "box": "{top};{left};{bottom};{right}",
    "circle": "{row};{column};{radius}",
    "polygon": "{top},{column};{row},{right};{bottom},{column};{row},{left}",
    "centre": "{row};{column}",
    "mask_path": "mask.png",
}


@pytest.mark.parametrize("pixel_um", [(50, 50), (94.1, 94.1), (70, 85), (200, 200)])
@pytest.mark.parametrize("kind", ["pgm", "dark_dense", "bottom_left", "MONOCHROME1"])
def test_a_lesion_is_in_the_middle_of_its_roi(
    tmp_path: Path, pixel_um: tuple[float, float], kind: str
) -> None:
    """For every kind of location, polarity and origin of coordinates."""
    # A disc of radius 3 mm, off the centre of an image of 80 x 60 mm.
    radius_rows, radius_columns = (3000 / size for size in pixel_um)
    row, column = round(41_000 / pixel_um[0]), round(22_000 / pixel_um[1])
    shape = tuple(round(size / um) for size, um in zip((80_000, 60_000), pixel_um, strict=True))
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    y, x = (rows + 0.5 - row) / radius_rows, (columns + 0.5 - column) / radius_columns
    inside = y**2 + x**2 <= 1
    gray = np.where(inside, 3000, 800).astype(np.uint16)
    stored = 4095 - gray if kind in ("dark_dense", "MONOCHROME1") else gray
    file = "a.dcm" if kind == "MONOCHROME1" else "a.pgm"
    if kind == "MONOCHROME1":
        write_dicom(tmp_path / file, stored, PhotometricInterpretation=kind)
    else:
        write_pgm(tmp_path / file, stored, 4095)
    Image.fromarray((255 * inside).astype(np.uint8)).save(tmp_path / "mask.png")
    settings = {"polarity": kind if kind == "dark_dense" else ""}
    settings |= {"coord_origin": kind if kind == "bottom_left" else "", "image_path": file}
    table_row, down = (shape[0] - row, -1) if kind == "bottom_left" else (row, 1)
    numbers = {"row": table_row, "column": column, "radius": radius_rows}
    numbers |= {
        "top": table_row - down * radius_rows,
        "bottom": table_row + down * radius_rows,
        "left": column - radius_columns,
        "right": column + radius_columns,
    }
    lines = []
    for number, (location, form) in enumerate(LOCATIONS.items()):
        if kind == "bottom_left" and location == "mask_path":  # coord_origin is not for masks
            continue
        cells = dict.fromkeys(LOCATIONS, "") | {location: form.format(**numbers)}
        size = f"{pixel_um[0]};{pixel_um[1]}"
        lines.append(BASE | {"pixel_um": size, "lesion_id": str(number)} | settings | cells)
    header = list(lines[0])
    text = [",".join(header), *(",".join(f'"{line[name]}"' for name in header) for line in lines)]
    (tmp_path / "m.csv").write_text("\n".join(text) + "\n")
    flat = RoiSettings(correct=False)
    rois = ingest.load(f"manifest:{tmp_path}/m.csv", tmp_path / "cache", flat, {})
    assert len(rois) == len(lines)
    for roi in np.concatenate(rois.shards):
        assert offset(roi) < 1


def test_a_lesion_of_mini_mias_is_in_the_middle_of_its_roi(tmp_path: Path) -> None:
    """Rows of mini-MIAS count from the bottom."""
    (tmp_path / "Info.txt").write_text("mdb001 G CIRC B 535 425 30\n")
    gray = film((1024, 1024), (1023 - 425 + 0.5, 535.5, 30), top=255)
    write_pgm(tmp_path / "mdb001.pgm", gray, 255)
    options = {"mini_mias": {"classes": MASSES}}
    flat = RoiSettings(correct=False)
    rois = ingest.load(f"mini_mias:{tmp_path}", tmp_path / "cache", flat, options)
    assert offset(rois.shards[0][0]) < 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"polarity": "Polarity"}, "column 'Polarity' is invalid: write polarity"),
        ({"pixel_um": "Pixel um"}, "column 'Pixel um' is invalid: write pixel_um"),
        ({"patient_id": "PatientID"}, "column 'PatientID' is invalid: write patient_id$"),
        ({"laterality": "laterality_"}, "column 'laterality_' is invalid: write laterality"),
        ({"box": "BBox"}, "column 'BBox' is invalid: write box$"),
        (
            {"truth": "label", "bits": "Bits", "split": "SPLIT"},
            "column 'Bits' is invalid: write bits; column 'SPLIT' is invalid: write split;"
            " missing column truth ",
        ),
    ],
)
def test_a_misspelled_column_is_rejected(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    names = [*"dataset patient_id lesion_id view image_path truth box pixel_um bits".split()]
    names += ["polarity", "laterality", "split"]
    (tmp_path / "m.csv").write_text(",".join(change.get(name, name) for name in names) + "\n")
    with pytest.raises(InputError, match=f"m.csv: {reason}"):
        manifest.read_collection(str(tmp_path / "m.csv"))


def test_bbox_is_box_and_other_columns_are_recorded(tmp_path: Path) -> None:
    row = {"bbox" if key == "box" else key: value for key, value in BASE.items()}
    collection = read_manifest(tmp_path, row | {"birads": "4", "vendor": "X"})
    assert collection.views[0].box == (10, 20, 30, 60)
    assert "mine: columns not used: birads, vendor" in collection.decisions
    assert collection.notices == ("columns not used: birads, vendor",)


def test_cells_of_a_row_are_in_its_lesion_view(tmp_path: Path) -> None:
    change = {"polarity": "dark_dense", "bits": "10", "pixel_um": "50;70", "view": "mlo"}
    change |= {"laterality": "L", "modality": "SFM", "truth_source": "birads", "split": "test"}
    change |= {"truth": "Malignant", "spacing_source": "ruler", "notes": "faint"}
    view = read_manifest(tmp_path, BASE | change).views[0]
    assert (view.dark_is_dense, view.bits, view.pixel_um, view.view) == (True, 10, (50, 70), "MLO")
    assert (view.laterality, view.modality, view.truth_source) == ("L", "SFM", "birads")
    assert (view.split, view.label, view.spacing_source) == ("test", 1, "ruler")
    assert (view.note, view.case_id, view.lesion_id) == (
        "",
        "P1",
        "1",
    )  # the column notes is not used


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"view": "XX"}, "line 2: view 'XX' is invalid: expected one of CC, MLO, ML, LM"),
        ({"patient_id": ""}, "line 2: patient_id is empty"),
        ({"image_path": "", "view": ""}, "line 2: view is empty; image_path is empty"),
        ({"view": "RMLO"}, "FB, AT; the side is for laterality"),
        (
            {"pixel_um": "0.07"},
            "line 2: pixel_um: pixel size 0.07 x 0.07 um (pixel_um) is below 10",
        ),
        ({"pixel_um": "0.1;0.1"}, "is below 10 um: the unit is um, not mm"),
        ({"pixel_um": "70,5"}, "line 2: pixel_um '70,5' is invalid: expected numbers separated by"),
        ({"image_path": "C:\\films\\a.pgm"}, "is a path on a Windows drive or share, which does"),
        ({"image_path": "\\\\server\\a.pgm"}, "is a path on a Windows drive or share, which does"),
        ({"image_path": "..\\a.pgm"}, "must be relative to the manifest's folder, without '..'"),
        ({"image_path": "x\\..\\..\\a.pgm"}, "must be relative to the manifest's folder, with"),
        ({"dataset": "../x"}, "dataset '../x'"),
        ({"image_path": "absent.pgm"}, "line 2: image_path: no such file"),
        ({"image_path": "9" * 400 + ".pgm"}, "line 2: image_path: no such file '999"),
        ({"image_path": "../a.pgm"}, "line 2: image_path '../a.pgm' must be relative"),
        ({"image_path": "/etc/passwd"}, "line 2: image_path '/etc/passwd' must be relative"),
        ({"pixel_um": ""}, "line 2: pixel_um is empty"),
        ({"pixel_um": "0"}, "line 2: pixel_um"),
        ({"pixel_um": "1;2;3"}, "line 2: pixel_um"),
        ({"pixel_um": "nan"}, "line 2: pixel_um"),
        ({"box": ""}, "line 2: fill exactly one of box, circle, polygon, centre, mask_path, not 0"),
        ({"centre": "1;2"}, "line 2: fill exactly one of"),
        ({"box": "1;2;3"}, "line 2: box '1;2;3' is invalid: expected top;left;bottom;right"),
        ({"box": "30;20;10;60"}, "is invalid: expected top;left;bottom;right, bottom below top"),
        (
            {"box": "a;2;3;4"},
            "line 2: box 'a;2;3;4' is invalid: expected top;left;bottom;right in n",
        ),
        ({"box": "", "circle": "1;2;0"}, "line 2: circle '1;2;0' is invalid: expected a radius"),
        ({"box": "", "polygon": "1,2;3,4"}, "line 2: polygon '1,2;3,4' is invalid: expected"),
        ({"box": "", "mask_path": "a.pgm"}, "line 2: mask_path: the mask a.pgm is empty"),
        (
            {"box": "", "mask_path": "b.pgm"},
            "line 2: mask_path: (90, 120) pixels, but its image has",
        ),
        ({"polarity": "odd"}, "line 2: polarity 'odd' is invalid: expected one of bright_dense, d"),
        ({"coord_origin": "odd"}, "coord_origin 'odd' is invalid: expected one of top_left, botto"),
        ({"laterality": "left"}, "line 2: laterality 'left' is invalid: expected one of L, R"),
        ({"truth_source": "guess"}, "line 2: truth_source 'guess'"),
        ({"split": "odd"}, "line 2: split 'odd' is invalid: expected one of train, test"),
        ({"bits": "99"}, "line 2: bits 99"),
        ({"frame": "-1"}, "line 2: frame '-1'"),
        ({"intensity_kind": "raw-linear"}, "line 2: intensity_kind raw-linear"),
    ],
)
def test_the_error_of_a_bad_row_names_line_and_column(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    with pytest.raises(InputError, match=re.escape(reason)) as failure:
        read_manifest(tmp_path, BASE | change)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "other"}, "line 3: dataset 'other' differs"),
        ({}, "line 3: the same lesion in the same image is listed twice, first in line 2"),
        ({"frame": "0"}, "line 3: the same lesion in the same image is listed twice"),
        ({"box": "11;20;30;61"}, "line 3: the same lesion in the same image is listed twice"),
        ({"image_path": "./a.pgm"}, "line 3: the same lesion in the same image is listed twice"),
        ({"view": "MLO", "image_path": "b.pgm", "laterality": "R"}, "(R, benign) than in line 2"),
        ({"lesion_id": "2", "truth": "malignant"}, "has the box of lesion 1 in line 2 in the"),
        (
            {"lesion_id": "2", "truth": "malignant", "box": "10;20;31;60"},
            "has the box of lesion 1 in line 2 in the same image, but another truth",
        ),
        (
            {"split": "train", "lesion_id": "2", "image_path": "b.pgm"},
            "line 3: patient P1 has split train here and test in line 2: no patient may",
        ),
        ({"split": "", "lesion_id": "2", "image_path": "b.pgm"}, "split (empty) here and test in"),
        ({"view": "MLO", "truth": "malignant"}, "line 3: lesion 1 of patient P1 has another"),
    ],
)
def test_rows_that_contradict_each_other_are_rejected(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    row = BASE | {"laterality": "L", "frame": "", "split": "test"}
    with pytest.raises(InputError, match=re.escape(reason)) as failure:
        read_manifest(tmp_path, row, row | change)
    assert ("errors" in str(failure.value)) == ("dataset" in change)


def test_the_error_names_the_row_that_differs_from_the_majority(tmp_path: Path) -> None:
    rows = [
        BASE | {"image_path": f"{n}.npy", "laterality": "R" if n == 0 else "L"} for n in range(4)
    ]
    for n in range(4):
        np.save(tmp_path / f"{n}.npy", np.zeros((100, 120), np.uint8))
    with pytest.raises(
        InputError, match=r"line 2: lesion 1 .*\(R, benign\) than in line 3 \(L, be"
    ):
        read_manifest(tmp_path, *rows)


def test_one_lesion_id_in_two_patients_and_one_box_in_two_images_are_valid(
    tmp_path: Path,
) -> None:
    row = BASE | {"laterality": "L"}
    collection = read_manifest(
        tmp_path, row, row | {"patient_id": "P2", "image_path": "b.pgm", "truth": "malignant"}
    )
    assert [(view.case_id, view.label) for view in collection.views] == [("P1", 0), ("P2", 1)]
    assert {view.noted for view in collection.views} == {""}


def test_another_lesion_with_the_same_box_is_noted(tmp_path: Path) -> None:
    collection = read_manifest(
        tmp_path, BASE, BASE | {"lesion_id": "2"}, BASE | {"lesion_id": "3", "box": "1;2;3;4"}
    )
    noted = "another lesion of the patient has nearly the same box in the image"
    assert [view.noted for view in collection.views] == [noted, noted, ""]


@pytest.mark.parametrize(
    ("box", "same"),
    [("10;21;30;60", True), ("10;20;29;60", True), ("10;20;28;60", False), ("12;20;30;60", False)],
)
def test_boxes_of_intersection_over_union_above_0_9_are_noted(
    tmp_path: Path, box: str, same: bool
) -> None:
    pixels = np.zeros((2, 90, 120), bool)
    for image, text in zip(pixels, (BASE["box"], box), strict=True):
        top, left, bottom, right = map(int, text.split(";"))
        image[top:bottom, left:right] = True
    assert (pixels.all(0).sum() / pixels.any(0).sum() > 0.9) == same
    collection = read_manifest(tmp_path, BASE, BASE | {"lesion_id": "2", "box": box})
    assert [bool(view.noted) for view in collection.views] == [same, same]


@pytest.mark.parametrize(
    ("ids", "same"),
    [
        (("1", "01"), True),
        (("1.0", "1"), True),
        (("L-1", "l 1"), True),
        (("1", "11"), False),
        (("1.1", "1.2"), False),
    ],
)
def test_lesion_ids_that_differ_in_spelling_only_are_noted(
    tmp_path: Path, ids: tuple[str, str], same: bool
) -> None:
    rows = [BASE | {"lesion_id": ids[0]}, BASE | {"lesion_id": ids[1], "image_path": "b.pgm"}]
    collection = read_manifest(tmp_path, *rows)
    expected = "another lesion_id of the patient differs in spelling only" if same else ""
    assert [view.noted for view in collection.views] == [expected, expected]
    rows[1]["patient_id"] = "P2"
    assert [view.noted for view in read_manifest(tmp_path, *rows).views] == ["", ""]


def test_an_unknown_laterality_contradicts_nothing(tmp_path: Path) -> None:
    for name in "cd":
        np.save(tmp_path / f"{name}.npy", np.zeros((100, 120), np.uint8))
    row = BASE | {"laterality": ""}
    rows = [row, row | {"image_path": "b.pgm"}, row | {"image_path": "c.npy", "laterality": "L"}]
    noted = "only some rows of the lesion state its laterality or truth"
    assert [view.noted for view in read_manifest(tmp_path, *rows).views] == [noted] * 3
    with pytest.raises(InputError, match=r"m.csv line 5: .*\(R, benign\) than in line 4 \(L, be"):
        read_manifest(tmp_path, *rows, row | {"image_path": "d.npy", "laterality": "R"})


def test_one_message_lists_all_errors_of_all_rows(tmp_path: Path) -> None:
    rows = [
        BASE | {"lesion_id": "1", "bits": "12"},
        BASE | {"lesion_id": "2", "view": "LCC", "bits": "99", "pixel_um": "0.1"},
        BASE | {"lesion_id": "3", "image_path": "gone.pgm", "bits": "x"},
        BASE | {"lesion_id": "1", "bits": "12"},
        BASE | {"lesion_id": "5", "dataset": "yours", "bits": ""},
        # Invalid rows are not compared with others.
        BASE | {"lesion_id": "3", "image_path": "b.pgm", "truth": "malignant", "bits": ""},
        BASE | {"lesion_id": "7", "truth": "unknown", "bits": "", "patient_id": ""},
    ]
    with pytest.raises(InputError) as failure:
        read_manifest(tmp_path, *rows)
    text = str(failure.value)
    assert "\n" not in text and f"{tmp_path / 'm.csv'}: 5 errors: (1) line 3: view 'LCC'" in text
    for part in (
        "laterality; bits 99 is invalid: expected an integer from 1 to 16; pixel_um: pixel size",
        "(2) line 4: bits 'x' is invalid: expected an integer >= 0; image_path: no such file 'gone",
        "(3) line 5: the same lesion in the same image is listed twice, first in line 2",
        "(4) line 6: dataset 'yours' differs from 'mine' in the rows above; a manifest",
        "(5) line 8: patient_id is empty",
    ):
        assert part in text


def test_cells_are_checked_if_the_image_does_not_exist(tmp_path: Path) -> None:
    """The message lists the box and pixel size besides the missing image."""
    row = BASE | {"image_path": "none.png", "box": "3;2;1;0", "pixel_um": "0.07"}
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path, row)
    message = str(caught.value)
    assert "no such file 'none.png'" in message and "bottom below top" in message
    assert "not mm" in message
    for cells in ({"coord_origin": "bottom_left"}, {"box": "", "mask_path": "none.png"}):
        with pytest.raises(InputError, match="no such file 'none.png'") as caught:
            read_manifest(tmp_path, BASE | cells | {"image_path": "none.png", "pixel_um": ""})
        assert "pixel_um" not in str(caught.value)


def test_more_than_ten_errors_are_counted(tmp_path: Path) -> None:
    rows = [BASE | {"lesion_id": str(n), "box": "5;5;1;9" if n else BASE["box"]} for n in range(14)]
    with pytest.raises(InputError, match=r"m.csv: 13 errors: \(1\) line 3: .*\(10\) line 12: .*;"):
        read_manifest(tmp_path, *rows)


def test_lines_with_equally_many_cells_are_one_error(tmp_path: Path) -> None:
    write_pgm(tmp_path / "a.pgm", np.zeros((100, 120)), 4095)
    long = ",".join(BASE.values()) + ",8"
    (tmp_path / "m.csv").write_text("\n".join((",".join(BASE), *[long] * 11)) + "\n")
    with pytest.raises(InputError, match="line 2: 9 cells under 8 columns, as in 10 more rows"):
        manifest.read_collection(str(tmp_path / "m.csv"))


def test_lines_with_too_many_cells_are_among_the_errors(tmp_path: Path) -> None:
    write_pgm(tmp_path / "a.pgm", np.zeros((100, 120)), 4095)
    good = ",".join(BASE.values())
    (tmp_path / "m.csv").write_text(
        "\n".join((",".join(BASE), good, good + ",8", "a,b", good.replace("CC", "XY"))) + "\n"
    )
    with pytest.raises(InputError) as failure:
        manifest.read_collection(str(tmp_path / "m.csv"))
    assert "3 errors: (1) line 3: 9 cells under 8 columns" in str(failure.value)
    assert "(2) line 4: 2 cells" in str(failure.value)
    assert "(3) line 5: view 'XY'" in str(failure.value)


@pytest.mark.parametrize(
    ("separator", "encoding", "line_end"),
    [(";", "utf-8-sig", "\r\n"), ("\t", "utf-8", "\n"), (",", "utf-8-sig", "\r")],
)
def test_separators_and_encodings_of_spreadsheets_are_read(
    tmp_path: Path, separator: str, encoding: str, line_end: str
) -> None:
    write_pgm(tmp_path / "ä b.pgm", np.zeros((100, 120)), 4095)
    row = BASE | {"image_path": "ä b.pgm"}
    cells = [separator.join(row), separator.join(f'"{cell}"' for cell in row.values())]
    # A spreadsheet writes empty columns to the right of the table.
    text = line_end.join(f"{line}{separator}{separator}" for line in cells)
    (tmp_path / "m.csv").write_bytes(text.encode(encoding))
    collection = manifest.read_collection(str(tmp_path / "m.csv"))
    assert collection.views[0].box == (10, 20, 30, 60)
    assert collection.decisions[1:] == ("mine: columns not used: (unnamed), (unnamed)",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252"])
def test_another_encoding_is_rejected(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "m.csv").write_bytes((",".join(BASE) + "\nmüne").encode(encoding))
    with pytest.raises(InputError, match="m.csv: not a CSV in UTF-8 .*; save it as UTF-8"):
        manifest.read_collection(str(tmp_path / "m.csv"))


def test_windows_path_separators_are_read(tmp_path: Path) -> None:
    (tmp_path / "P1" / "films").mkdir(parents=True)
    write_pgm(tmp_path / "P1" / "films" / "l.pgm", np.zeros((100, 120)), 4095)
    Image.fromarray(np.eye(100, 120, dtype=np.uint8)).save(tmp_path / "P1" / "films" / "m.png")
    write_pgm(tmp_path / "odd\\name.pgm", np.zeros((100, 120)), 4095)
    mask = {"image_path": "P1\\films\\l.pgm", "box": "", "mask_path": "P1\\films\\m.png"}
    collection = read_manifest(
        tmp_path,
        BASE | {"mask_path": ""},
        BASE | {"lesion_id": "2"} | mask,
        BASE | {"lesion_id": "3", "image_path": "odd\\name.pgm", "mask_path": ""},
    )
    assert [view.image_path.relative_to(tmp_path).as_posix() for view in collection.views] == [
        *("a.pgm", "P1/films/l.pgm", "odd\\name.pgm")
    ]
    assert collection.views[1].box == (0, 0, 100, 100)


def test_notes_on_a_mask_are_in_its_lesion_view(tmp_path: Path) -> None:
    square = np.zeros((100, 120), np.uint8)
    square[20:50, 30:90] = 255
    Image.fromarray(square).save(tmp_path / "m.jpg", quality=70)
    view = read_manifest(tmp_path, BASE | {"box": "", "mask_path": "m.jpg"}).views[0]
    assert np.abs(np.subtract(view.box, (20, 30, 50, 90))).max() <= 1
    assert view.noted == "mask of several gray values: thresholded at half of the largest"
    assert view.note == ""
    assert view.where == f"{tmp_path / 'm.csv'} line 2"


def test_an_empty_frame_is_not_stated(tmp_path: Path) -> None:
    collection = read_manifest(
        tmp_path, BASE | {"frame": ""}, BASE | {"frame": "0", "lesion_id": "2"}
    )
    assert [(view.frame, view.frame_number) for view in collection.views] == [(None, 0), (0, 0)]


def test_pixel_sizes_are_read_from_dicom_files_of_any_name(tmp_path: Path) -> None:
    for name in ("IM000001", "1.2.840.99"):
        write_dicom(
            tmp_path / name, np.zeros((100, 120), np.uint16), ImagerPixelSpacing=[0.09, 0.09]
        )
        view = read_manifest(tmp_path, BASE | {"image_path": name, "pixel_um": ""}).views[0]
        assert (view.pixel_um, view.spacing_source) == ((90, 90), "ImagerPixelSpacing")
    write_dicom(tmp_path / "m", np.zeros((100, 120), np.uint16), ImagerPixelSpacing=[9e-5, 9e-5])
    with pytest.raises(InputError, match=r"\(ImagerPixelSpacing\) is below 10"):
        read_manifest(tmp_path, BASE | {"image_path": "m", "pixel_um": ""})


@pytest.mark.parametrize("column", manifest.REQUIRED)
def test_the_error_names_a_missing_column(tmp_path: Path, column: str) -> None:
    with pytest.raises(InputError, match=f"m.csv: missing column {column}"):
        read_manifest(tmp_path, {key: text for key, text in BASE.items() if key != column})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "the file is empty"),
        (b"dataset;patient_id\n", "separate columns by commas, semicolons or tabs"),
        (",".join(BASE).encode() + b"\n", "no rows"),
        (",".join(BASE).encode() + b"\nmine,P1,1,CC,a.pgm,benign,100,1,2\n", "line 2: 9 cells"),
        (b"\xff\xfe\x00", "not a CSV in UTF-8"),
        (",".join([*BASE, "box"]).encode() + b"\n", "column box is repeated; keep one"),
        (b"dataset,patient_id,lesion_id,view,image_path,truth\n", "a location, one of box"),
    ],
)
def test_a_file_that_is_not_a_manifest_is_rejected(
    tmp_path: Path, text: bytes, reason: str
) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(InputError, match=reason):
        manifest.read_collection(str(tmp_path / "m.csv"))
    with pytest.raises(InputError, match="no such file"):
        manifest.read_collection(str(tmp_path))


def test_an_unknown_source_is_rejected() -> None:
    assert {"manifest", "mini_mias"} <= set(SOURCES)
    with pytest.raises(InputError, match="expected one of .*manifest, mini_mias.*shards"):
        ingest.load("nomias:x", Path("cache"), ROI, {})
    for spec in ("mini_mias", "mini_mias:", ":x"):
        with pytest.raises(InputError, match="expected name:path, as in mini_mias:"):
            ingest.load(spec, Path("cache"), ROI, {})


def test_the_dataset_of_the_majority_of_rows_is_used(tmp_path: Path) -> None:
    rows = [BASE | {"lesion_id": str(n), "dataset": "mine" if n else "my"} for n in range(4)]
    with pytest.raises(
        InputError, match="m.csv line 2: dataset 'my' differs from 'mine' in the rows below"
    ):
        read_manifest(tmp_path, *rows)
