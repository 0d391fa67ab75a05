"""Test the CMMD reader: boxes of the user, sides and views of headers, pathology of breasts."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from kit.cmmd import BREASTS, CODES, COLUMNS, IMAGES, Image, make_cmmd, write_table
from kit.dicom import view_code, write_dicom
from kit.fuzz import damaged, outcomes
from kit.lesion import film, offset

from mtl_jax.data import ingest
from mtl_jax.data.ingest_plan import Rules
from mtl_jax.data.sources import cmmd, table
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import Collection, InputError

PLAIN = RoiSettings(correct=False)
FOLDER = "07-18-2010-NA-NA-79377/1.000000-NA-70244"


def read_collection(dataset: tuple[Path, Path]) -> Collection:
    return cmmd.read_collection(str(dataset[0]), boxes=str(dataset[1]))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a dataset that no test changes."""
    return make_cmmd(tmp_path_factory.mktemp("cmmd"))


def test_lesions_classes_and_reasons(dataset: tuple[Path, Path]) -> None:
    collection = read_collection(dataset)
    assert [(view.case_id, view.lesion_id, view.view) for view in collection.views] == [
        ("D1-0002", "L1", "CC"),
        ("D1-0002", "L1", "MLO"),
        ("D1-0002", "R1", "MLO"),
        ("D2-0003", "L1", "CC"),
    ]
    assert [view.label for view in collection.views] == [0, 0, 1, 1]
    assert [view.laterality for view in collection.views] == ["L", "L", "R", "L"]
    assert {view.truth_source for view in collection.views} == {"biopsy"}
    assert collection.views[0].box == (180.5, 130.5, 240.5, 190.5)
    assert dict(collection.left_out) == {
        f"CMMD/D1-0001/{FOLDER}/1-1.dcm-1": "abnormality of the breast is calcification, not mass",
        f"CMMD/D2-0003/{FOLDER}/1-1.dcm-1": "no row for breast R of D2-0003 in the clinical table",
        f"CMMD/D1-0002/{FOLDER}/1-4.dcm": "no box",
        "D1-0001 R": "no box in this breast",
        "D2-0004 R": "no box in this breast",
    }


def test_missing_boxes_are_rejected(dataset: tuple[Path, Path]) -> None:
    for boxes in (None, ""):
        with pytest.raises(InputError, match="config.data.cmmd.boxes must name a CSV") as caught:
            cmmd.read_collection(str(dataset[0]), boxes=boxes)
        assert "image_path and box (top;left;bottom;right)" in str(caught.value)


@pytest.mark.parametrize("pixel_um", [50, 94.1, 100])
def test_a_lesion_is_in_the_middle_of_its_roi(tmp_path: Path, pixel_um: float) -> None:
    home, boxes = make_cmmd(tmp_path, pixel_um=pixel_um)
    options = {"cmmd": {"boxes": str(boxes)}}
    rules = Rules(truth_policy="biopsy")
    rois = ingest.load(f"cmmd:{home}", tmp_path / "cache", PLAIN, options, rules)
    assert len(rois) == 4
    assert set(rois.index["pixel_um_col"]) == {pixel_um}
    for roi in np.concatenate(rois.shards)[:, 34:94, 34:94]:
        assert offset(roi) < 1


@pytest.mark.parametrize("name", ["CMMD_clinicaldata_revision.csv", "semicolon"])
def test_a_clinical_table_may_be_a_csv(tmp_path: Path, name: str) -> None:
    home, boxes = make_cmmd(tmp_path)
    before = read_collection((home, boxes))
    (home / "CMMD_clinicaldata_revision.xlsx").unlink()
    separator = ";" if name == "semicolon" else ","
    lines = [
        separator.join("" if v is None else str(v) for v in row) for row in (COLUMNS, *BREASTS)
    ]
    (home / "CMMD_clinicaldata_revision.csv").write_text("\n".join(lines))
    assert read_collection((home, boxes)) == before


def test_the_clinical_table_may_be_in_a_subfolder(tmp_path: Path) -> None:
    home, boxes = make_cmmd(tmp_path)
    boxes.write_text(boxes.read_text().replace("\nCMMD/", f"\n{home.name}/CMMD/"))
    assert len(read_collection((tmp_path, boxes)).views) == 4


def test_the_command_of_the_manual(dataset: tuple[Path, Path], tmp_path: Path) -> None:
    command = ["tools/make_shards.py", f"cmmd:{dataset[0]}", "--out", tmp_path, "--truth", "biopsy"]
    done = subprocess.run(
        [sys.executable, *command, "--set", f"cmmd.boxes={dataset[1]}"],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["cmmd", *"4 4 3 2 2 1 0 0 5".split()]


def test_views_of_both_coding_schemes_are_read(tmp_path: Path) -> None:
    images = [
        Image("D2-0003", f"1-{number}.dcm", "L", view, (200, 150, 30), scheme)
        for number, (view, scheme) in enumerate([(v, s) for v in CODES for s in (0, 1)])
    ]
    home, boxes = make_cmmd(tmp_path, images)
    assert [view.view for view in read_collection((home, boxes)).views] == [
        "CC",
        "CC",
        "MLO",
        "MLO",
    ]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PatientID": "Doe^Jane"}, "its PatientID is not one of the collection"),
        ({"ImageLaterality": "B"}, "its header does not state side and view"),
        ({"ViewCodeSequence": view_code("1", "SCT", "?")}, "its header does not state side"),
        ({"ImagerPixelSpacing": None}, "its header does not state the pixel size"),
    ],
)
def test_an_incomplete_header_is_left_out(
    tmp_path: Path, tags: dict[str, object], reason: str
) -> None:
    home, boxes = make_cmmd(tmp_path, IMAGES[-1:])
    valid_tags = {
        "PatientID": "D2-0003",
        "ImageLaterality": "L",
        "ViewCodeSequence": view_code(*CODES["CC"][0]),
        "ImagerPixelSpacing": [0.1, 0.1],
    }
    tags = {key: value for key, value in {**valid_tags, **tags}.items() if value is not None}
    image = next(home.rglob("*.dcm"))
    write_dicom(image, film((480, 360), (200, 150, 30), top=255), bits=8, **tags)
    collection = read_collection((home, boxes))
    assert not collection.views
    assert collection.left_out[0][1].startswith(reason)
    assert "Doe" not in str(collection)


def test_rows_of_one_breast_may_differ_in_abnormality_only(tmp_path: Path) -> None:
    left = ("D2-0003", "L", 61, 2)
    rows = [(*left, "mass", "Malignant", None), (*left, "calcification", "Malignant", None)]
    home, boxes = make_cmmd(tmp_path, IMAGES[-1:], rows)
    assert [view.label for view in read_collection((home, boxes)).views] == [1]
    rows[1] = (*left, "mass", "Benign", None)
    write_table(home / "CMMD_clinicaldata_revision.xlsx", rows)
    assert (
        read_collection((home, boxes)).left_out[0][1]
        == "two rows of its breast differ in classification"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image_path\n{a}\n", "boxes.csv line 2: fill exactly one of box"),
        ("path,box\n{a},1;2;3;4\n", "boxes.csv: missing column image_path"),
        (
            "image_path,box\n{a},1;2;3\n",
            "boxes.csv line 2: box '1;2;3' is invalid: expected top;left",
        ),
        (
            "image_path,box\n{a},4;2;3;9\n",
            "line 2: box '4;2;3;9' is invalid: expected top;left;bottom;right",
        ),
        ("image_path,box\n../x.dcm,1;2;3;4\n", "line 2: image_path '../x.dcm' must be relative"),
        ("image_path,box\nx.dcm,1;2;3;4\n", "boxes.csv line 2: image_path: no such file"),
        (
            "image_path,box,lesion_id\n{a},1;2;3;4,1\n{a},1;2;3;5,1\n",
            "boxes.csv line 3: lesion_id '1' is repeated for this image",
        ),
        (
            "image_path,box,lesion_id\n{a},1;2;3;4,1\n{b},1;2;3;5,1\n",
            "boxes.csv line 3: lesion_id '1' is in the other breast in an earlier row",
        ),
    ],
)
def test_damaged_boxes_are_rejected(tmp_path: Path, text: str, reason: str) -> None:
    home, boxes = make_cmmd(tmp_path)
    images = {"a": f"CMMD/D1-0002/{FOLDER}/1-1.dcm", "b": f"CMMD/D1-0002/{FOLDER}/1-3.dcm"}
    boxes.write_text(text.format(**images))
    with pytest.raises(InputError, match=re.escape(reason)):
        read_collection((home, boxes))


def test_one_message_lists_all_errors_of_the_boxes(tmp_path: Path) -> None:
    home, boxes = make_cmmd(tmp_path)
    image = f"CMMD/D1-0002/{FOLDER}/1-1.dcm"
    boxes.write_text(f"image_path,box\n{image},1;2;3\n{image},1;2;3;4\nx.dcm,1;2;3;4\n,1,2,3\n")
    with pytest.raises(InputError) as failure:
        read_collection((home, boxes))
    text = str(failure.value)
    assert "boxes.csv: 3 errors: (1) line 2: box '1;2;3' is invalid" in text
    assert "(2) line 4: image_path: no such file 'x.dcm'" in text
    assert "(3) line 5: 4 cells under 2 columns" in text
    write_table(home / "CMMD_clinicaldata_revision.xlsx", [(None, "L"), ("D1-0002", "B")])
    with pytest.raises(InputError, match=r"xlsx: 2 errors: \(1\) row 2: ID1 is .*row 3: LeftRight"):
        read_collection((home, boxes))


def test_windows_path_separators_and_a_repeated_row(tmp_path: Path) -> None:
    home, boxes = make_cmmd(tmp_path)
    image = f"CMMD/D1-0002/{FOLDER}/1-1.dcm"
    boxes.write_text(
        "image_path,box\n{},1;2;3;4\n{},1;2;3;4\n".format(*[image, image.replace("/", "\\")])
    )
    views = read_collection((home, boxes)).views
    assert len({view.image_path for view in views}) == 1
    assert {view.noted for view in views} == {
        "another lesion of the patient has nearly the same box in the image"
    }
    boxes.write_text(f"image_path,box\n{image},1;2;3;4\n..\\x.dcm,1;2;3;4\n")
    with pytest.raises(InputError, match="line 3: image_path .* must be relative"):
        read_collection((home, boxes))


def test_circles_polygons_and_centres_are_read(tmp_path: Path) -> None:
    home, boxes = make_cmmd(tmp_path)
    image = f"CMMD/D1-0002/{FOLDER}/1-1.dcm"
    boxes.write_text(
        f'image_path,circle,polygon,centre,bbox\n{image},10;20;5,,,\n{image},,"1,2;3,4;9,8",,\n'
        f"{image},,,7;8,\n{image},,,,1;2;3;4\n"
    )
    views = read_collection((home, boxes)).views
    assert [view.box for view in views] == [
        *((5, 15, 15, 25), (1, 2, 9, 8), (7, 8, 7, 8), (1, 2, 3, 4))
    ]
    assert views[2].note == "centre only, extent not given"
    # Without a lesion_id each row is a lesion.
    assert len({view.lesion_id for view in views}) == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("D2-0003", "B", 1, 2, "mass", "Benign"), "row 2: LeftRight 'B' is invalid: expected L"),
        (("D2-0003", "L", 1, 2, "mass", "Unsure"), "row 2: classification 'Unsure' is invalid"),
        ((None, "L", 1, 2, "mass", "Benign"), "row 2: ID1 is empty"),
    ],
)
def test_a_damaged_clinical_table_is_rejected(
    tmp_path: Path, row: tuple[object, ...], reason: str
) -> None:
    home, boxes = make_cmmd(tmp_path, IMAGES[-1:])
    write_table(home / "CMMD_clinicaldata_revision.xlsx", [row])
    with pytest.raises(InputError, match=re.escape(reason)):
        read_collection((home, boxes))
    (home / "CMMD_clinicaldata_revision.xlsx").unlink()
    with pytest.raises(InputError, match="cmmd: neither CMMD_clinicaldata_revision.xlsx nor"):
        read_collection((home, boxes))


def replace_parts(path: Path, change: dict[str, bytes]) -> None:
    """Replace some parts of a workbook."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, data in (parts | change).items():
            book.writestr(name, data)


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"big.bin": b" " * (33 * 2**20)}, "larger than 32 MiB when unpacked"),
        ({"xl/styles.xml": b"<a/>" * 2**20}, "its part xl/styles.xml is too large"),
        ({SHEET: b'<!DOCTYPE a [<!ENTITY b "c">]><worksheet/>'}, "holds a document type"),
        ({SHEET: b"<worksheet>"}, "not a readable workbook"),
        ({"xl/workbook.xml": b"x"}, "not a readable workbook"),
    ],
)
def test_hostile_workbooks_are_rejected(
    tmp_path: Path, change: dict[str, bytes], reason: str
) -> None:
    book = tmp_path / "a.xlsx"
    write_table(book, BREASTS)
    replace_parts(book, change)
    with pytest.raises(InputError, match=reason):
        table.read_rows(book, cmmd.COLUMNS, TableErrors(book))


def test_a_sheet_that_states_a_wrong_size_is_read_completely(tmp_path: Path) -> None:
    book = tmp_path / "a.xlsx"
    write_table(book, BREASTS)
    before = table.read_rows(book, cmmd.COLUMNS, TableErrors(book))
    assert len(before) == len(BREASTS)
    with zipfile.ZipFile(book) as parts:
        sheet = parts.read(SHEET)
    assert b'<dimension ref="A1:G6"' in sheet
    for claim in (b"A1", b"A1:XFD1048576"):
        replace_parts(book, {SHEET: sheet.replace(b"A1:G6", claim)})
        assert table.read_rows(book, cmmd.COLUMNS, TableErrors(book)) == before
    replace_parts(book, {SHEET: sheet.replace(b'r="6"', b'r="900000"').replace(b'6"', b'900000"')})
    with pytest.raises(InputError, match="row 200001: more than 200000 rows"):
        table.read_rows(book, cmmd.COLUMNS, TableErrors(book))


def test_cells_of_a_workbook_are_read_as_text(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append([])
    book.active.append([" A-b ", "C"])
    book.active.append([44.0, " x "])
    book.active.append([None, None])
    book.active.append([0.5, None])
    book.save(tmp_path / "a.xlsx")
    path = tmp_path / "a.xlsx"
    rows = [row for _, row in table.read_rows(path, ("a b", "c"), TableErrors(path))]
    assert rows == [{"a b": "44", "c": "x"}, {"a b": "0.5", "c": ""}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n" + "1,2\n" * 200_001, "line 200001: more than 200000 rows"),
        ("a,b\n" + "," * 3_000_000, "line 2: more than 200000 rows or 256 columns"),
        ("a,b\n" + " " * (33 * 2**20), "larger than 32 MiB"),
        ("a,b\n1,\0\n", "it holds zero bytes"),
        ("a,b\n1," + "x" * 200_000 + "\n", "line 2: not a CSV"),
        ("", "missing column a, b"),
        ("a,A,b\n", "column a is repeated; keep one"),
    ],
)
def test_hostile_tables_are_rejected(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        table.read_rows(tmp_path / "a.csv", ("a", "b"), TableErrors(tmp_path / "a.csv"))


def fuzz(folder: Path, count: int) -> None:
    home, boxes = make_cmmd(folder, IMAGES[1:3])
    counts = outcomes(boxes, count, 1, lambda: read_collection((home, boxes)))
    assert counts["rejected"] > count / 20
    book = home / "CMMD_clinicaldata_revision.xlsx"
    counts = outcomes(book, count // 2, 2, lambda: read_collection((home, boxes)))
    assert counts["rejected"] > count / 20
    # Damage inside the archive, with correct checksums.
    with zipfile.ZipFile(book) as parts:
        sheet = parts.read(SHEET)
    for damaged_sheet in damaged(sheet, count // 2, 3):
        replace_parts(book, {SHEET: damaged_sheet})
        try:
            read_collection((home, boxes))
        except InputError as error:
            assert "\n" not in str(error)


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 200)


@pytest.mark.slow
def test_many_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    fuzz(tmp_path, 3000)
