"""Sources: what mini-MIAS and manifests say, quirk by quirk, and every bad row as one line."""

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
from mtl_jax.nouns import Collection, InputError

HERE = Path(__file__).resolve().parents[1]
MINI_MIAS = HERE.parent / "shared" / "data" / "mini_mias"
needs_films = pytest.mark.skipif(
    not MINI_MIAS.is_dir(), reason="the mini-MIAS films are not beside this folder"
)
MASSES = ("CIRC", "SPIC", "MISC")
BACKGROUND = {"correct": True, "along_mm": 3.2, "depth_mm": 1.6}

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
    found = mini_mias.collection(str(mias_folder(tmp_path)), classes=MASSES)
    assert [view.lesion_id for view in found.views] == [
        *("mdb001-1", "mdb002-1", "mdb005-1", "mdb005-3")
    ]
    first, second, third, fourth = found.views
    # x 535, y 425 from the bottom: column 535, row 598; their middles are half a pixel on.
    assert first.box == (598.5 - 197, 535.5 - 197, 598.5 + 197, 535.5 + 197)
    assert [view.case_id for view in found.views] == ["p001", "p001", "p003", "p003"]
    assert [view.laterality for view in found.views] == ["R", "L", "R", "R"]
    assert [view.label for view in found.views] == [0, 1, 0, 1]
    assert {view.view for view in found.views} == {"MLO"}
    assert {view.bits for view in found.views} == {8}
    assert {view.pixel_um for view in found.views} == {(200.0, 200.0)}
    assert second.box[1] < 0 and "beyond the image" in second.note
    assert "beyond" not in first.note + third.note + fourth.note
    assert dict(found.left_out) == {
        "mdb003-1": "normal film",
        "mdb005-2": "class ARCH not chosen",
        "mdb059-1": "CIRC without coordinates",
        "mdb212-1": "class CALC not chosen",
        "mdb216-1": "CALC without coordinates",
        "mdb300-1": "image mdb300.pgm is not in the folder",
    }


@needs_films
def test_real_mini_mias_has_58_masses() -> None:
    found = mini_mias.collection(str(MINI_MIAS), classes=MASSES)
    labels = [view.label for view in found.views]
    assert (len(labels), sum(labels)) == (58, 20)
    assert len({view.case_id for view in found.views}) == 53
    # The table has 330 rows; every one is a view or left out.
    assert len(found.left_out) == 330 - 58
    reasons = [reason for _, reason in found.left_out]
    assert reasons.count("normal film") == 207
    assert reasons.count("CALC without coordinates") == 3
    wider = mini_mias.collection(str(MINI_MIAS), classes=(*MASSES, "ARCH", "ASYM"))
    assert {v.lesion_id for v in found.views} <= {v.lesion_id for v in wider.views}


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (INFO + "mdb310 G BLOB B 1 2 3\n", "Info.txt line 13: class 'BLOB' is none of CIRC"),
        (INFO + "mdb001 G CIRC B 1 2\n", "Info.txt line 13: expected x, y and radius"),
        (INFO + "mdb001 G CIRC X 1 2 3\n", "Info.txt line 13: expected severity"),
        ("nothing\n", "no row begins with"),
    ],
)
def test_damaged_info(tmp_path: Path, info: str, reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        mini_mias.collection(str(mias_folder(tmp_path, info)), classes=MASSES)


def test_mini_mias_without_folder_table_or_class(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder .*absent"):
        mini_mias.collection(str(tmp_path / "absent"), classes=MASSES)
    with pytest.raises(InputError, match="no Info.txt in"):
        mini_mias.collection(str(tmp_path), classes=MASSES)
    for classes in (("CIRC", "MASS"), ()):
        with pytest.raises(InputError, match="valid ones are CIRC, SPIC, MISC, ARCH, ASYM"):
            mini_mias.collection(str(mias_folder(tmp_path)), classes=classes)


def blocks(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", (HERE / "docs" / page).read_text(), re.M | re.S)


def test_the_worked_example_of_the_manual_runs_as_printed(tmp_path: Path) -> None:
    table, session = blocks("manifest.md")[:2]
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
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == expected

    found = manifest.collection(str(home / "lesions.csv"))
    assert [view.box for view in found.views] == [
        (410, 300, 510, 420),
        (440, 290, 560, 410),
        (400, 290, 500, 380),
        (200, 500, 300, 540),
    ]
    assert found.left_out == (("P004/1/CC", "truth unknown"),)
    assert found.views[2].pixel_um == (70.0, 70.0)
    assert [view.spacing_source for view in found.views][1:3] == ["manifest", "ImagerPixelSpacing"]
    assert [view.label for view in found.views] == [1, 1, 0, 0]


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
    return manifest.collection(str(folder / "m.csv"))


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


PLACED = {
    "box": "{top};{left};{bottom};{right}",
    "circle": "{row};{column};{down}",
    "polygon": "{top},{column};{row},{right};{bottom},{column};{row},{left}",
    "centre": "{row};{column}",
    "mask_path": "mask.png",
}


@pytest.mark.parametrize("pixel_um", [(50, 50), (94.1, 94.1), (70, 85), (200, 200)])
@pytest.mark.parametrize("kind", ["pgm", "dark_dense", "bottom_left", "MONOCHROME1"])
def test_a_lesion_lands_in_the_middle_of_its_region(
    tmp_path: Path, pixel_um: tuple[float, float], kind: str
) -> None:
    """However it is said where it is, and whichever way up and round the image is stored."""
    # A disc of 3 mm, off the middle of an image of 80 x 60 mm.
    down, across = (3000 / size for size in pixel_um)
    row, column = round(41_000 / pixel_um[0]), round(22_000 / pixel_um[1])
    shape = tuple(round(size / um) for size, um in zip((80_000, 60_000), pixel_um, strict=True))
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = ((rows + 0.5 - row) / down) ** 2 + ((columns + 0.5 - column) / across) ** 2 <= 1
    gray = np.where(inside, 3000, 800).astype(np.uint16)
    stored = 4095 - gray if kind in ("dark_dense", "MONOCHROME1") else gray
    file = "a.dcm" if kind == "MONOCHROME1" else "a.pgm"
    if kind == "MONOCHROME1":
        write_dicom(tmp_path / file, stored, PhotometricInterpretation=kind)
    else:
        write_pgm(tmp_path / file, stored, 4095)
    Image.fromarray((255 * inside).astype(np.uint8)).save(tmp_path / "mask.png")
    said = {"polarity": kind if kind == "dark_dense" else ""}
    said |= {"coord_origin": kind if kind == "bottom_left" else "", "image_path": file}
    at = shape[0] - row if kind == "bottom_left" else row
    up = -1 if kind == "bottom_left" else 1
    numbers = {"row": at, "column": column, "down": down, "top": at - up * down}
    numbers |= {"bottom": at + up * down, "left": column - across, "right": column + across}
    lines = []
    for number, (where, form) in enumerate(PLACED.items()):
        if kind == "bottom_left" and where == "mask_path":  # a mask has no origin to choose
            continue
        place = dict.fromkeys(PLACED, "") | {where: form.format(**numbers)}
        size = f"{pixel_um[0]};{pixel_um[1]}"
        lines.append(BASE | {"pixel_um": size, "lesion_id": str(number)} | said | place)
    header = list(lines[0])
    text = [",".join(header), *(",".join(f'"{one[name]}"' for name in header) for one in lines)]
    (tmp_path / "m.csv").write_text("\n".join(text) + "\n")
    flat = BACKGROUND | {"correct": False}
    rois = ingest.load(f"manifest:{tmp_path}/m.csv", tmp_path / "cache", flat, {})
    assert len(rois) == len(lines)
    for roi in np.concatenate(rois.shards):
        assert offset(roi) < 1


def test_a_film_of_mini_mias_lands_in_the_middle_of_its_region(tmp_path: Path) -> None:
    """Its rows are counted from below."""
    (tmp_path / "Info.txt").write_text("mdb001 G CIRC B 535 425 30\n")
    gray = film((1024, 1024), (1023 - 425 + 0.5, 535.5, 30), top=255)
    write_pgm(tmp_path / "mdb001.pgm", gray, 255)
    options = {"mini_mias": {"classes": MASSES}}
    flat = BACKGROUND | {"correct": False}
    rois = ingest.load(f"mini_mias:{tmp_path}", tmp_path / "cache", flat, options)
    assert offset(rois.shards[0][0]) < 1


def test_bbox_is_box_and_other_columns_are_recorded(tmp_path: Path) -> None:
    row = {"bbox" if key == "box" else key: value for key, value in BASE.items()}
    found = read_manifest(tmp_path, row | {"birads": "4", "vendor": "X"})
    assert found.views[0].box == (10, 20, 30, 60)
    assert "mine: columns not used: birads, vendor" in found.decisions


def test_settings_of_a_row_reach_its_view(tmp_path: Path) -> None:
    change = {"polarity": "dark_dense", "bits": "10", "pixel_um": "50;70", "view": "mlo"}
    change |= {"laterality": "L", "modality": "SFM", "truth_source": "birads", "split": "test"}
    change |= {"truth": "Malignant", "spacing_source": "ruler", "notes": "faint"}
    view = read_manifest(tmp_path, BASE | change).views[0]
    assert (view.dark_is_dense, view.bits, view.pixel_um, view.view) == (True, 10, (50, 70), "MLO")
    assert (view.laterality, view.modality, view.truth_source) == ("L", "SFM", "birads")
    assert (view.split, view.label, view.spacing_source) == ("test", 1, "ruler")
    assert (view.note, view.case_id, view.lesion_id) == ("", "P1", "1")  # notes stay where they are


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"view": "XX"}, "line 2: view 'XX' is none of CC, MLO, ML, LM"),
        ({"patient_id": ""}, "line 2: patient_id is empty"),
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
        ({"box": "1;2;3"}, "line 2: box '1;2;3' is not top;left;bottom;right"),
        ({"box": "30;20;10;60"}, "line 2: box is top;left;bottom;right, with bottom below top"),
        ({"box": "a;2;3;4"}, "line 2: box 'a;2;3;4': numbers"),
        ({"box": "", "circle": "1;2;0"}, "line 2: circle '1;2;0': the radius"),
        ({"box": "", "polygon": "1,2;3,4"}, "line 2: polygon is"),
        ({"box": "", "mask_path": "a.pgm"}, "line 2: mask_path: the mask a.pgm is empty"),
        ({"box": "", "mask_path": "b.pgm"}, "line 2: mask_path: (90, 120) pixels, its image has"),
        ({"polarity": "odd"}, "line 2: polarity 'odd' is none of bright_dense, dark_dense"),
        ({"coord_origin": "odd"}, "line 2: coord_origin 'odd' is none of top_left, bottom_left"),
        ({"laterality": "left"}, "line 2: laterality 'left' is none of L, R"),
        ({"truth_source": "guess"}, "line 2: truth_source 'guess'"),
        ({"split": "odd"}, "line 2: split 'odd' is none of train, test"),
        ({"bits": "99"}, "line 2: bits 99"),
        ({"frame": "-1"}, "line 2: frame '-1'"),
        ({"intensity_kind": "raw-linear"}, "line 2: intensity_kind raw-linear"),
    ],
)
def test_a_bad_row_names_its_line_and_column(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    with pytest.raises(InputError, match=re.escape(reason)) as failure:
        read_manifest(tmp_path, BASE | change)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "other"}, "line 3: dataset 'other' differs"),
        ({}, "line 3: the same lesion in the same image is listed twice"),
        ({"view": "MLO", "truth": "malignant"}, "line 3: lesion 1 of patient P1 has another"),
    ],
)
def test_rows_that_contradict_each_other(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        read_manifest(tmp_path, BASE, BASE | change)


@pytest.mark.parametrize("column", manifest.REQUIRED)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    with pytest.raises(InputError, match=f"m.csv: missing column {column}"):
        read_manifest(tmp_path, {key: text for key, text in BASE.items() if key != column})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "missing column dataset"),
        (b"dataset;patient_id\n", "comma separated"),
        (",".join(BASE).encode() + b"\n", "no rows"),
        (",".join(BASE).encode() + b"\nmine,P1,1,CC,a.pgm,benign,100,1,2\n", "line 2: 9 cells"),
        (b"\xff\xfe\x00", "not a CSV in UTF-8"),
        (",".join([*BASE, "box"]).encode() + b"\n", "column box stands twice"),
        (b"dataset,patient_id,lesion_id,view,image_path,truth\n", "a location, one of box"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "m.csv").write_bytes(text)
    with pytest.raises(InputError, match=reason):
        manifest.collection(str(tmp_path / "m.csv"))
    with pytest.raises(InputError, match="no such file"):
        manifest.collection(str(tmp_path))


def test_sources_are_listed_by_name() -> None:
    assert {"manifest", "mini_mias"} <= set(SOURCES)
    with pytest.raises(InputError, match="valid ones are .*manifest, mini_mias.*shards"):
        ingest.load("nomias:x", Path("cache"), BACKGROUND, {})
    for spec in ("mini_mias", "mini_mias:", ":x"):
        with pytest.raises(InputError, match="write name:path, as in mini_mias:"):
            ingest.load(spec, Path("cache"), BACKGROUND, {})
