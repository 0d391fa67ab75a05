"""A user's table, ugly in every way, becomes a manifest and a contact sheet, or all its faults."""

import base64
import csv
import datetime
import io
import re
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from kit.command import run_command
from PIL import Image
from test_imaging import write_pgm

from mtl_jax.commands import make_manifest, make_shards
from mtl_jax.data.from_table import boxes, numbers, words
from mtl_jax.data.from_table.read_table import find_column
from mtl_jax.data.image_names import ImageMatcher
from mtl_jax.data.shards import open_shards
from mtl_jax.types import InputError

COLUMNS = ("MRN", "Lésion", "Side", "View", "File", "X", "Y", "W", "H", "Spacing", "Pathology")
MAPS = {
    "patient_id": "MRN", "lesion_id": "Lésion", "laterality": "Side", "image_path": "File",
    "pixel_um": "Spacing", "truth": "Pathology",
}  # fmt: skip
OPTIONS = [f"--map={name}={column}" for name, column in MAPS.items()]
BOX = ["--box=X,Y,W,H", "--unit=mm", "--pixel-unit=mm"]
SHAPE = 200, 160  # rows and columns of each image, of 200 um


def films(folder: Path, names: Sequence[str]) -> None:
    rng = np.random.default_rng(3)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_pgm(folder / name, rng.integers(0, 4096, SHAPE), 4095)


def write_table(path: Path, rows: Sequence[Sequence[str]], delimiter: str, encoding: str) -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def row(number: int, **cells: str) -> list[str]:
    """A clean row, whose lesion is 4 mm wide and 6 mm high at x 8 mm, y 10 mm."""
    default = (
        f"{number:05d}",
        "1",
        "L",
        "CC",
        f"{number}.pgm",
        "8",
        "10",
        "4",
        "6",
        "0.2",
        "benign",
    )
    return [cells.get(name, value) for name, value in zip(COLUMNS, default, strict=True)]


def run(*arguments: object) -> int:
    return run_command(make_manifest, *arguments)


def read_manifest(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_sixty_ugly_rows_become_rois_by_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "films"
    films(folder, [f"Series {n % 3}/IMG{n}.PGM" for n in range(60)])
    sides = ("Left", "r", "L", "RIGHT", "lt", "Rt ")
    views = ("cc", "MLO", "Medio-lateral oblique", "CC", "LMLO", "CC R")
    truths = ("Malignant", "b", "M", "BENIGN", "Positive", "0")
    names = ("D:\\PACS\\Series {s}\\img{n}.pgm", "Series {s}\\IMG{n}.PGM", "IMG{n}", "img{n}.pgm")
    rows = [COLUMNS]
    for n in range(60):
        name = names[n % 4].format(n=n, s=n % 3)
        cells = {"Side": sides[n % 6], "View": views[n % 6], "Pathology": truths[n % 6]}
        cells |= {"File": name, "X": "8,5", "Y": "10,0", "Spacing": "0,2"}
        rows.append(row(n, **cells))
    rows += [row(60, Pathology=""), [""] * len(COLUMNS)]
    table = tmp_path / "Übersicht 1.csv"
    write_table(table, rows, ";", "cp1252")
    values = ["--value=truth:malignant=positive", "--value=truth:benign=0"]
    assert run(table, "--images", folder, *OPTIONS, *BOX, *values) == 0
    output = capsys.readouterr().out
    for decision in (
        "read as Windows-1252 (cp1252), its cells separated by semicolons",
        "view: column 'View'",
        "truth: 'positive' is malignant",
        "rows left out: truth (empty): 1",
        "image names matched without their extension: 15",
        "60 lesion views, 60 lesions (30 malignant), 60 patients",
    ):
        assert decision in output
        in_file = (folder / "manifest.decisions.txt").read_text()
        assert decision in in_file or "60 lesion views" in decision
    written = read_manifest(folder / "manifest.csv")
    # 8.5 mm and 10 mm of 200 um pixels, 4 mm wide and 6 mm high, by hand
    assert {line["box"] for line in written} == {"50;42.5;80;62.5"}
    assert [line["laterality"] for line in written[:6]] == ["L", "R", "L", "R", "L", "R"]
    assert [line["view"] for line in written[:6]] == ["CC", "MLO", "MLO", "CC", "MLO", "CC"]
    assert [line["truth"][0] for line in written[:6]] == ["m", "b", "m", "b", "m", "b"]
    assert written[7]["patient_id"] == "00007" and written[7]["pixel_um"] == "200"
    assert written[0]["image_path"] == "Series 0/IMG0.PGM"
    # The command that it prints works as it is.
    (command,) = re.findall(r"mtl-jax shards '?(manifest:.*?)'? --out", output)
    assert run_command(make_shards, command, "--out", tmp_path / "shards") == 0
    assert len(open_shards(tmp_path / "shards" / "Ubersicht_1")) == 60
    for where in (folder, tmp_path / "shards"):
        (sheet,) = (where / "contact_sheets").iterdir()
        assert [page.name for page in sheet.iterdir()] == ["page_001.html"]


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8-sig", "\t"), ("utf-16", ";"), ("utf-8", ",")]
)
def test_encodings_and_separators_are_recognized(
    encoding: str, delimiter: str, tmp_path: Path
) -> None:
    films(tmp_path, ["1.pgm"])
    table = tmp_path / "t.csv"
    # The other separators are frequent in the header, in names that are not mapped.
    extra = "a;b;c;d;e" if delimiter != ";" else "a,b,c,d,e"
    write_table(table, [(*COLUMNS, extra), [*row(1), "x"]], delimiter, encoding)
    assert run(table, *OPTIONS, *BOX, "--no-contact-sheet") == 0
    assert read_manifest(tmp_path / "manifest.csv")[0]["lesion_id"] == "1"
    assert not (tmp_path / "contact_sheets").exists()


def test_all_faults_are_listed_at_once_with_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm", "3.pgm", "4.pgm", "5.pgm", "A/6.pgm"])
    table = tmp_path / "t.csv"
    rows = [
        COLUMNS,
        row(1, Pathology="suspicious"),
        row(2, Side="links", View="RCC"),
        row(3, View="RCC"),
        row(4, File="none.pgm", MRN=""),
        row(5, X="many", Spacing="70"),
        row(6, File="B/6.pgm"),
        row(1, W="90", Pathology="M", MRN="9"),
        row(2, Y="0.01", H="0.02", Pathology="M", MRN="1.2E+11"),
    ]
    write_table(table, rows, ",", "utf-8")
    assert run(table, *OPTIONS, *BOX) == 2
    error = capsys.readouterr().err
    for part in (
        "truth: unknown values 'suspicious' (1, first in line 2): state what each means, as in"
        " --value 'truth:VALUE=suspicious', VALUE one of malignant, benign, unknown",
        "laterality: unknown values 'links' (1, first in line 3)",
        "line 4: laterality L contradicts the view, which names R",
        "line 5: patient_id is empty; image 'none.pgm': no such image",
        "line 6: pixel size 70 mm cannot be: expected 1 to 1200 um; is --pixel-unit right?",
        "column 'X': 'many' is not a number",
        "line 7: image 'B/6.pgm': the only image of that name is A/6.pgm, in another folder",
        "line 8: box 8;10;90;6 (xywh): 73% of it is outside the image of 200 rows and 160 columns",
        "line 9: patient_id '1.2E+11' was shortened by a spreadsheet",
    ):
        assert part in error
    assert error.startswith(f"{table}: 8 errors; no manifest is written\n")
    assert not (tmp_path / "manifest.csv").exists()


def test_faults_of_pixels_are_listed_with_the_lines_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm"])
    (tmp_path / "3.pgm").write_bytes(b"P5 not an image")
    table = tmp_path / "t.csv"
    options = [*OPTIONS, "--map=centre=X", "--pixel-unit=mm"]
    rows = [COLUMNS, row(1, X="30;30"), row(3, X="30;30"), row(2, X="30;900")]
    write_table(table, rows, ",", "utf-8")
    assert run(table, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{table}: 2 errors") and "line 3: " in error
    assert re.search(r"line 4: .*the lesion's centre, row 30.0 column 900.0, is outside", error)


def test_more_than_fifty_errors_are_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    table = tmp_path / "t.csv"
    write_table(table, [COLUMNS, *(row(n, File=f"no{n}.pgm") for n in range(70))], ",", "utf-8")
    assert run(table, *OPTIONS, *BOX) == 2
    error = capsys.readouterr().err
    assert f"all 70 errors are in {tmp_path / 't.errors.txt'}" in error
    listed = (tmp_path / "t.errors.txt").read_text().splitlines()
    assert len(listed) == 70 and listed[69].startswith("line 71: image 'no69.pgm'")


@pytest.mark.parametrize("name", ["0", "1", "positive", "BI-RADS 5", "normal", "suspicious",
                                  "BENIGN_WITHOUT_CALLBACK", "+", "malign"])  # fmt: skip
def test_no_other_word_is_taken_as_a_reference_standard(name: str) -> None:
    translation = words.Translation("truth")
    assert translation.translate(name, 2) == "" and name in translation.error()
    given = words.Translation("truth", {"benign": [name]})
    assert given.translate(name.upper(), 2) == "benign" and not given.error()


@pytest.mark.parametrize(
    ("text", "side", "view"),
    [
        ("LCC", "L", "cc"),
        ("R-MLO", "R", "mlo"),
        ("MLO left", "L", "mlo"),
        ("LMLO", "L", "mlo"),
        ("LML", "L", "ml"),
        ("LMO", "", "LMO"),
        ("LM", "", "LM"),
        ("Cranio-caudal", "", "Cranio-caudal"),
        ("axial", "", "axial"),
    ],
)
def test_a_view_may_name_the_side(text: str, side: str, view: str) -> None:
    assert words.split_view(text) == (side, view)


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (["12,5", "1,234"], ","),
        (["1.234,5"], ","),
        (["0,234"], ","),
        (["1234,567"], ","),
        (["1,234.5", "1,234"], "."),
        (["1,234,567"], "."),
        (["12.345", "7"], "."),
        (["10", "20"], "."),
    ],
)
def test_a_column_decides_its_decimal_mark(texts: list[str], mark: str) -> None:
    lines = list(enumerate(texts, 2))
    assert numbers.decide_decimal(lines, "x", "") == mark
    assert numbers.decide_decimal(lines, "x", "comma") == ","


def test_an_ambiguous_or_mixed_decimal_mark_is_an_error() -> None:
    message = (
        r"1,234 \(line 2\) is ambiguous: give --decimal comma if it is 1.234, or --decimal poi"
    )
    with pytest.raises(InputError, match=message):
        numbers.decide_decimal([(2, "1,234"), (3, "10")], "x", "")
    with pytest.raises(InputError, match=r"decimal commas \(line 2\) and decimal points \(line 3"):
        numbers.decide_decimal([(2, "1,2"), (3, "1.2")], "x", "")


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [("1.234,5", ",", 1234.5), ("1,234", ".", 1234), ("-0,5", ",", -0.5), ("1e3", ".", 1000)],
)
def test_numbers_are_read_with_their_mark(text: str, mark: str, value: float) -> None:
    assert numbers.parse_number(text, mark) == value


@pytest.mark.parametrize("text", ["12,34", "1.2.3", "x", "nan", "inf", "", "5 mm"])
def test_other_texts_are_no_numbers(text: str) -> None:
    with pytest.raises(InputError, match="is not a number"):
        numbers.parse_number(text, ".")


@pytest.mark.parametrize("text", ["1;2;3;4", "[1, 2, 3, 4]", "1,2,3,4", "(1 2 3 4)", "1 | 2|3|4"])
def test_one_cell_may_hold_four_numbers(text: str) -> None:
    assert numbers.split_numbers(text) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("columns", "form", "order"),
    [
        ("x,y,w,h", "xywh", "x,y,w,h"),
        ("X (mm),Y (mm),W (mm),H (mm)", "xywh", "X (mm),Y (mm),W (mm),H (mm)"),
        ("xmin,xmax,ymin,ymax", "corners", "xmin,ymin,xmax,ymax"),
        ("Top,Left,Bottom,Right", "rowcol", "Top,Left,Bottom,Right"),
        ("a,b,c,d", "", "a,b,c,d"),
        ("bbox", "", "bbox"),
    ],
)
def test_known_names_state_the_form(columns: str, form: str, order: str) -> None:
    assert boxes.infer_form(columns.split(",")) == (form, order.split(","))


@pytest.mark.parametrize(
    ("form", "cells"),
    [("xywh", "40;50;20;30"), ("corners", "40;50;60;80"), ("rowcol", "50;40;80;60")],
)
def test_each_form_gives_the_same_box(form: str, cells: str) -> None:
    """Columns 40 to 60, rows 50 to 80; the size of a pixel of 100 x 50 um scales mm by axis."""
    a, b, c, d = map(float, cells.split(";"))
    row = boxes.RowBox((a, b, c, d), SHAPE, (100.0, 50.0))
    assert boxes.to_pixels(row, form, "px", 0) == (50, 40, 80, 60)
    assert boxes.to_pixels(row, form, "px", 1) == (49, 39, 79, 59)
    assert boxes.to_pixels(row, form, "mm", 0) == (500, 800, 800, 1200)
    one_cell = [boxes.RowBox((a, b, c, d), SHAPE)]
    assert form in boxes.fitting_forms(one_cell, "px", 0)


def test_a_form_that_is_not_known_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm"])
    table = tmp_path / "t.csv"
    rows = [COLUMNS, row(1, X="40;50;20;30"), row(2, X="100;50;20;30")]
    write_table(table, rows, ",", "utf-8")
    options = [*OPTIONS, "--box=X", "--pixel-unit=mm"]
    assert run(table, *options) == 2
    error = capsys.readouterr().err
    assert "give --box-form xywh, corners or rowcol; all rows fit xywh" in error
    assert error.startswith(f"{table}: 1 error;")
    assert run(table, *options, "--box-form=xywh") == 0
    assert read_manifest(tmp_path / "manifest.csv")[1]["box"] == "50;100;80;120"


def test_swapped_rows_and_columns_are_suggested_and_not_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm"])
    table = tmp_path / "t.csv"
    rows = [COLUMNS, row(1), row(2, X="170", Y="40", W="20", H="30")]
    write_table(table, rows, ",", "utf-8")
    options = [*OPTIONS, "--pixel-unit=mm"]
    assert run(table, *options, "--box=X,Y,W,H") == 2
    error = capsys.readouterr().err
    assert "swapped none does: if that is right, give --box Y,X,H,W --box-form xywh" in error
    assert run(table, *options, "--box=Y,X,H,W", "--box-form=xywh") == 0
    assert read_manifest(tmp_path / "manifest.csv")[1]["box"] == "170;40;190;70"


def test_names_that_hold_corners_are_questioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    table = tmp_path / "t.csv"
    write_table(table, [COLUMNS, row(1, X="90", Y="110", W="120", H="150")], ",", "utf-8")
    assert run(table, *OPTIONS, "--pixel-unit=mm", "--box=X,Y,W,H") == 2
    assert "as corners (x1, y1, x2, y2) none does" in capsys.readouterr().err


def test_a_name_with_mm_demands_the_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    table = tmp_path / "t.csv"
    header = [f"{name} (mm)" if name in "XYWH" else name for name in COLUMNS]
    write_table(table, [header, row(1)], ",", "utf-8")
    options = [*OPTIONS, "--pixel-unit=mm", "--box=X (mm),Y (mm),W (mm),H (mm)"]
    assert run(table, *options) == 2
    assert "a name says mm: give --unit mm, or --unit px" in capsys.readouterr().err


def workbook(path: Path, rows: Sequence[Sequence[object]]) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    for cells in rows:
        book.active.append(list(cells))
    book.save(path)
    return book


def excel_row(number: int) -> list[object]:
    return [number, 1, "L", "CC", f"{number}.pgm", 8, 10.0, 4, 6, 0.2, "benign"]


def test_a_workbook_is_read_as_it_shows_its_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm", "3.pgm"])
    table = tmp_path / "t.xlsx"
    book = workbook(table, [COLUMNS, *(excel_row(n) for n in (1, 2, 3))])
    sheet = book.active
    for line in (2, 3, 4):
        sheet.cell(line, 1).number_format = "00000"
    sheet.cell(3, 1).value = None
    sheet.merge_cells("A2:A3")
    sheet.cell(3, 2).value = 2
    sheet.row_dimensions[4].hidden = True
    book.create_sheet("Notes").append(["text", "more"])
    book.save(table)
    assert run(table, *OPTIONS, *BOX) == 2
    assert "choose one with --sheet (Sheet, Notes)" in capsys.readouterr().err
    assert run(table, *OPTIONS, *BOX, "--sheet=Sheet", "--no-contact-sheet") == 0
    output = capsys.readouterr().out
    assert "empty cells of 'MRN' are filled in from merged cells: 1" in output
    assert "1 rows that are hidden in the workbook are used, too" in output
    written = read_manifest(tmp_path / "manifest.csv")
    assert [line["patient_id"] for line in written] == ["00001", "00001", "00003"]
    assert written[0]["box"] == "50;40;80;60"


def test_cells_that_a_spreadsheet_changed_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, [f"{n}.pgm" for n in range(1, 7)])
    table = tmp_path / "t.xlsx"
    book = workbook(table, [COLUMNS, *(excel_row(n) for n in range(1, 7))])
    sheet = book.active
    sheet["A2"] = 1234567890123456789
    sheet["B3"] = datetime.date(2024, 4, 3)
    sheet["F4"] = "=8+1"
    sheet["K5"] = None
    sheet["K4"] = "benign"
    sheet.merge_cells("K4:K5")
    sheet["A6"] = "#N/A"
    book.save(table)
    assert run(table, *OPTIONS, *BOX) == 2
    error = capsys.readouterr().err
    for part in (
        "row 2: column 'MRN': cell A2 is a number of more than 15 digits",
        "row 3: column 'Lésion': cell B3 is a date or time (2024-04-03",
        "row 4: column 'X': cell F4 is a formula without a stored value",
        "row 5: column 'Pathology': the cell is merged with others: only ids are filled in",
        "row 6: column 'MRN': #N/A is the error of a formula",
    ):
        assert part in error
    assert ": 5 errors" in error


def test_a_mapping_file_has_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films(tmp_path, ["1.pgm"])
    table, file = tmp_path / "t.csv", tmp_path / "map.toml"
    write_table(table, [COLUMNS, row(1, Pathology="1")], ",", "utf-8")
    maps = "\n".join(f'{name} = "{column}"' for name, column in MAPS.items())
    content = (
        'box = ["X", "Y", "W", "H"]\nunit = "mm"\npixel_unit = "um"\n'
        f"[map]\n{maps}\n[value.truth]\nmalignant = [1]\n[constant]\nmodality = 'DM'\n"
    )
    file.write_text(content, encoding="utf-8")
    assert run(table, "--mapping", file, "--no-contact-sheet") == 2  # 0.2 um
    assert "is --pixel-unit right?" in capsys.readouterr().err
    given = ["--pixel-unit=mm", "--truth-source=biopsy", "--no-contact-sheet"]
    assert run(table, "--mapping", file, *given) == 0  # an option has precedence
    (line,) = read_manifest(tmp_path / "manifest.csv")
    assert (line["modality"], line["truth"], line["truth_source"]) == ("DM", "malignant", "biopsy")
    file.write_text(content.replace("unit =", "units =", 1), encoding="utf-8")
    assert run(table, "--mapping", file, "--overwrite") == 2
    assert "units does not exist; did you mean unit?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map=patient=MRN"], "did you mean patient_id?"),
        (["--map=patient_id"], "--map patient_id: expected FIELD=VALUE"),
        (["--map=patient_id=Mrm"], "no such column (did you mean 'MRN'?)"),
        (["--value=truth:bad=1"], "--value truth:bad: expected one of malignant, benign, unknown"),
        (["--value=truth=1"], "expected FIELD:VALUE=WORD"),
        (
            ["--value=truth:malignant=P,N", "--value=truth:benign=n"],
            "'n' is given as malignant and",
        ),
        (["--box=X,Y,W"], "expected the names of four columns"),
        (["--unit=mm", "--first-pixel=1"], "boxes in mm are from the corner"),
        (["--sheet=1"], "is not an Excel workbook"),
        ([], "lesion_id is not mapped: --map lesion_id=COLUMN, or --one-lesion-per-breast"),
    ],
)
def test_a_wrong_option_is_one_line_with_the_cure(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    write_table(tmp_path / "t.csv", [COLUMNS, row(1)], ",", "utf-8")
    assert run(tmp_path / "t.csv", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_existing_manifest_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.csv").write_text("mine")
    assert run(tmp_path / "t.csv", *OPTIONS) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "manifest.csv").read_text() == "mine"


def test_a_manifest_away_from_its_images_names_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["in/1.pgm"])
    table = tmp_path / "in" / "t.csv"
    write_table(table, [COLUMNS, row(1)], ",", "utf-8")
    assert run(table, *OPTIONS, *BOX, "--out", tmp_path / "out", "--no-contact-sheet") == 0
    assert "--out shards --set manifest.outside=True" in capsys.readouterr().out
    assert read_manifest(tmp_path / "out" / "manifest.csv")[0]["image_path"] == "../in/1.pgm"


def test_a_manifest_of_coarse_images_names_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    write_table(tmp_path / "t.csv", [COLUMNS, row(1, Spacing="0.5")], ",", "utf-8")
    assert run(tmp_path / "t.csv", *OPTIONS, *BOX, "--no-contact-sheet") == 0
    output = capsys.readouterr().out
    assert "noted: the pixels are coarser than those of the ROI and were interpolated" in output
    assert "--out shards --set roi.upsample=True" in output
    assert "--config.data.roi.upsample=True" in output


def test_one_lesion_per_breast_is_named_by_its_side(tmp_path: Path) -> None:
    films(tmp_path, ["1.pgm"])
    table = tmp_path / "t.csv"
    write_table(table, [COLUMNS, row(1)], ",", "utf-8")
    options = [option for option in OPTIONS if "lesion_id" not in option]
    assert run(table, *options, *BOX, "--one-lesion-per-breast", "--no-contact-sheet") == 0
    assert read_manifest(tmp_path / "manifest.csv")[0]["lesion_id"] == "L"


def test_images_of_one_name_are_distinguished_by_their_folder(tmp_path: Path) -> None:
    films(tmp_path, ["P1/a.pgm", "P2/a.pgm", "P3/b.PGM"])
    matcher = ImageMatcher([tmp_path])
    assert matcher.find("E:\\x\\P2\\a.pgm") == tmp_path / "P2/a.pgm"
    assert matcher.find("p3/B.pgm") == tmp_path / "P3/b.PGM"
    for name, message in (("a.pgm", "2 images end in a.pgm"), ("c.pgm", "no such image"),
                          ("P9/b.PGM", "in another folder")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            matcher.find(name)


def test_the_contact_sheet_shows_every_box_and_only_to_its_owner(tmp_path: Path) -> None:
    image = np.zeros(SHAPE, int)
    image[50:80, 40:60] = 4095  # the lesion, at the box of `row`
    write_pgm(tmp_path / "1.pgm", image, 4095)
    write_table(tmp_path / "t.csv", [COLUMNS, row(1)], ",", "utf-8")
    assert run(tmp_path / "t.csv", *OPTIONS, *BOX) == 0
    (folder,) = (tmp_path / "contact_sheets").iterdir()
    page = folder / "page_001.html"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert "It is not for sharing" in text and ", line 2" in text
    assert "00001" not in text  # the patient's id
    (data,) = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", text)
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), int)
    scale = 384 / SHAPE[0]  # the image has 384 rows in the strip
    orange = (strip[..., 0] > 200) & (abs(strip[..., 1] - 140) < 50) & (strip[..., 2] < 90)
    rows, columns = np.nonzero(orange[:, : round(61 * scale)])
    assert np.allclose((rows.min(), rows.max()), (50 * scale, 80 * scale), atol=3)
    assert np.allclose((columns.min(), columns.max()), (40 * scale, 60 * scale), atol=3)


def test_what_an_ingest_leaves_out_or_notes_is_printed_with_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm"])
    write_pgm(tmp_path / "3.pgm", np.zeros(SHAPE, int), 4095)
    rows = [row(1), row(2, W="0.4", H="0.4"), row(3), row(2, MRN="2", Lesion="2", File="1.pgm")]
    table = tmp_path / "t.csv"
    write_table(table, [(*COLUMNS, "Age"), *([*cells, "50"] for cells in rows[:3])], ",", "utf-8")
    assert run(table, *OPTIONS, *BOX) == 0
    output = capsys.readouterr().out
    for sentence in (
        "columns not used: Age",
        "left out by an ingest: all pixels of the ROI have one gray value",
        ": 1 row (line 4)",
        "noted: the lesion is smaller than 1 mm (the first: 0.4 x 0.4 mm): 1 row (line 3)",
        "3 patients; 2 ROIs, the others are left out by an ingest",
    ):
        assert sentence in output
    assert "1 row (line 4)" in (tmp_path / "manifest.decisions.txt").read_text()
    write_table(table, [COLUMNS, rows[2]], ",", "utf-8")
    assert run(table, *OPTIONS, *BOX, "--overwrite") == 2
    error = capsys.readouterr().err
    assert "no lesion is left" in error and "1 row (line 2)" in error
    assert len(read_manifest(tmp_path / "manifest.csv")) == 3  # the earlier one


def test_an_error_of_an_image_names_all_of_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm"])
    rows = [row(1, MRN=case, File="1.pgm") for case in "ACD"]
    write_table(tmp_path / "t.csv", [COLUMNS, rows[0], row(2), *rows[1:]], ",", "utf-8")
    assert run(tmp_path / "t.csv", *OPTIONS, *BOX) == 2
    error = capsys.readouterr().err
    assert error.count("under more than one case") == 1
    assert "line 2: " in error and "the same image: line 4, line 5" in error


@pytest.mark.parametrize("option", ["--unit=mm", "--first-pixel=1", "--box-form=rowcol"])
def test_options_of_boxes_do_not_apply_to_other_locations(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    write_table(tmp_path / "t.csv", [(*COLUMNS, "c"), [*row(1), "60;50"]], ",", "utf-8")
    assert run(tmp_path / "t.csv", *OPTIONS, "--map=centre=c", "--pixel-unit=mm", option) == 2
    assert f"{option.partition('=')[0]} is for the columns of --box" in capsys.readouterr().err


def test_centres_may_have_decimal_commas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm", "2.pgm", "3.pgm"])
    centres = ("60,5; 50,25", "70;40", "61,125;51")
    rows = [[*row(n + 1), text] for n, text in enumerate(centres)]
    options = [*OPTIONS, "--map=centre=c", "--pixel-unit=mm", "--no-contact-sheet"]
    write_table(tmp_path / "t.csv", [(*COLUMNS, "c"), *rows], "\t", "utf-8")
    assert run(tmp_path / "t.csv", *options) == 0
    written = [line["centre"] for line in read_manifest(tmp_path / "manifest.csv")]
    assert written == ["60.5;50.25", "70;40", "61.125;51"]
    rows[1][-1] = "70.5;40"
    write_table(tmp_path / "t.csv", [(*COLUMNS, "c"), *rows], "\t", "utf-8")
    assert run(tmp_path / "t.csv", *options, "--overwrite") == 2
    assert "decimal commas (line 2) and decimal points (line 3)" in capsys.readouterr().err


def test_masks_are_named_as_images_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films(tmp_path / "films", ["1.pgm", "2.pgm"])
    mask = np.zeros(SHAPE, np.uint8)
    mask[50:80, 40:60] = 255
    (tmp_path / "films" / "masks").mkdir()
    for name in ("m1.png", "m2.png"):
        Image.fromarray(mask).save(tmp_path / "films" / "masks" / name)
    rows = [[*row(1), "D:\\PACS\\masks\\M1.PNG"], [*row(2), "masks/m2.png"]]
    write_table(tmp_path / "t.csv", [(*COLUMNS, "Mask"), *rows], ",", "utf-8")
    options = [*OPTIONS, "--map=mask_path=Mask", "--pixel-unit=mm", "--no-contact-sheet"]
    assert run(tmp_path / "t.csv", "--images", tmp_path / "films", *options) == 0
    written = [line["mask_path"] for line in read_manifest(tmp_path / "films" / "manifest.csv")]
    assert written == ["masks/m1.png", "masks/m2.png"]
    rows[1][-1] = "masks\\m3.png"
    write_table(tmp_path / "t.csv", [(*COLUMNS, "Mask"), *rows], ",", "utf-8")
    assert run(tmp_path / "t.csv", "--images", tmp_path / "films", *options, "--overwrite") == 2
    error = capsys.readouterr().err
    assert "line 3" in error and "no such mask" in error and "m3.png" in error


def test_a_header_below_a_title_and_another_origin_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    write_table(table, [["Masses of 2019"], COLUMNS, row(1)], ";", "utf-8")
    assert run(table, *OPTIONS, *BOX) == 2
    assert "the first line with text is read as the header" in capsys.readouterr().err
    write_table(table, [(*COLUMNS, "coord_origin"), [*row(1), "bottom_left"]], ";", "utf-8")
    assert run(table, *OPTIONS, *BOX) == 2
    assert "rows are counted from the top" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["\u8868.csv", "-.csv"])
def test_a_table_whose_name_names_no_collection(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / name, [COLUMNS, row(1)], ",", "utf-8")
    assert run(tmp_path / name, *OPTIONS, *BOX) == 2
    assert "give --name" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["malignant?", "\u043d\u0435 benign", "(benign)", "benign*"])
def test_a_word_in_doubt_is_unknown(word: str) -> None:
    translation = words.Translation("truth")
    assert translation.translate(word, 2) == "" and translation.unknown == {word: [2]}
    assert words.split_view(f"{word} LCC") == ("", f"{word} LCC")


def test_names_in_two_unicode_forms_are_the_same(tmp_path: Path) -> None:
    """macOS writes an umlaut as a letter and a combining diaeresis."""
    composed, decomposed = (unicodedata.normalize(form, "M\u00fcller") for form in ("NFC", "NFD"))
    films(tmp_path, [f"{decomposed}.pgm"])
    matcher = ImageMatcher([tmp_path])
    assert matcher.find(f"{composed}.pgm").name == f"{decomposed}.pgm"
    assert find_column([decomposed, "Mller"], composed) == [decomposed]


@pytest.mark.parametrize("format_", ['"MRN "00000', "000-000"])
def test_an_id_that_a_workbook_shows_in_another_way_is_an_error(
    format_: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    book = openpyxl.Workbook()
    book.active.append(COLUMNS)
    book.active.append(row(1))
    book.active["A2"].value, book.active["A2"].number_format = 43, format_
    book.save(tmp_path / "t.xlsx")
    assert run(tmp_path / "t.xlsx", *OPTIONS, *BOX) == 2
    assert "row 2: column 'MRN': cell A2 holds 43" in capsys.readouterr().err


def test_real_films_of_a_hospital_like_table(shared: Path, tmp_path: Path) -> None:
    """Circles of mini-MIAS, counted from the bottom, as boxes in mm: the manifest has them back."""
    folder = shared / "data" / "mini_mias"
    rows = [COLUMNS]
    expected = {}
    for line in (folder / "Info.txt").read_text(errors="replace").splitlines():
        cells = line.split()
        if (
            len(cells) == 7
            and cells[2] in ("CIRC", "SPIC")
            and (folder / f"{cells[0]}.pgm").exists()
        ):
            number, (x, y, radius) = int(cells[0][3:]), map(int, cells[4:])
            top, left = 1023 - y - radius, x - radius
            expected[f"{cells[0]}-{x}"] = f"{top};{left};{top + 2 * radius};{left + 2 * radius}"
            size = f"{2 * radius * 0.2:.1f}"
            rows.append([str((number + 1) // 2), f"{cells[0]}-{x}", "RL"[number % 2 == 0], "MLO",
                         cells[0].upper(), f"{left * 0.2:.1f}", f"{top * 0.2:.1f}", size, size,
                         "0.2", cells[3]])  # fmt: skip
    table = tmp_path / "t.csv"
    write_table(table, rows[:13], ",", "utf-8")
    assert run(table, "--images", folder, "--out", tmp_path, *OPTIONS, *BOX) == 0
    written = read_manifest(tmp_path / "manifest.csv")
    assert len(written) == 12
    assert {line["lesion_id"]: line["box"] for line in written}.items() <= expected.items()


@pytest.mark.parametrize("box", ["X,Y,W,H", "bbox"])
def test_boxes_in_mm_without_a_unit_are_questioned(
    box: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, [f"{n}.pgm" for n in range(3)])
    table = tmp_path / "t.csv"
    rows = [row(n, X=f"{8 + n}.5", Y="10.2", W="4", H="6.1") for n in range(3)]
    rows = [[*cells, ";".join(cells[5:9])] for cells in rows]
    write_table(table, [(*COLUMNS, "bbox"), *rows], ",", "utf-8")
    options = [*OPTIONS, f"--box={box}", "--box-form=xywh", "--pixel-unit=mm"]
    options += ["--no-contact-sheet", "--overwrite"]
    assert run(table, *options) == 2
    error = capsys.readouterr().err
    assert "the boxes may be in mm" in error and "give --unit mm or --unit px" in error
    assert error.startswith(f"{table}: 1 error;")
    assert run(table, *options, "--unit=px") == 0
    assert read_manifest(tmp_path / "manifest.csv")[0]["box"] == "10.2;8.5;16.3;12.5"
    assert run(table, *options, "--unit=mm") == 0
    assert read_manifest(tmp_path / "manifest.csv")[0]["box"] == "51;42.5;81.5;62.5"


def test_boxes_that_must_be_pixels_need_no_unit(tmp_path: Path) -> None:
    films(tmp_path, ["1.pgm", "2.pgm"])
    table = tmp_path / "t.csv"
    options = [*OPTIONS, "--box=X,Y,W,H", "--pixel-unit=mm", "--no-contact-sheet", "--overwrite"]
    whole, beyond = row(1), row(2, X="50.5", Y="60.5", W="20.5", H="30.5")  # 50.5 mm: beyond 32 mm
    for rows in ([whole, row(2)], [whole, beyond], [beyond]):
        write_table(table, [COLUMNS, *rows], ",", "utf-8")
        assert run(table, *options) == 0


@pytest.mark.parametrize("blank", [["", "", ""], [" ", "", ""]])
def test_blank_rows_above_the_header_are_skipped(blank: list[str], tmp_path: Path) -> None:
    films(tmp_path, ["1.pgm"])
    csv_table, book = tmp_path / "t.csv", tmp_path / "t.xlsx"
    write_table(csv_table, [blank, COLUMNS, row(1)], ";", "utf-8")
    workbook(book, [blank, COLUMNS, row(1)])
    for table in (csv_table, book):
        assert run(table, *OPTIONS, *BOX, "--no-contact-sheet", "--overwrite") == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_listed_one_by_one_if_none_is_known(
    delimiter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    write_table(table, [("MRN", "L\u00e4sion", "Datei", "Befund"), "1234"], delimiter, "cp1252")
    assert run(table, "--map=patient_id=Patient") == 2
    assert "its columns are 'MRN', 'L\u00e4sion', 'Datei', 'Befund'" in capsys.readouterr().err


def test_several_folders_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films(tmp_path / "films", ["1.pgm", "2.pgm"])
    mask = np.zeros(SHAPE, np.uint8)
    mask[50:80, 40:60] = 255
    masks = tmp_path / "outlines"
    (masks / "new").mkdir(parents=True)
    for name in ("m1.png", "m2.png"):
        Image.fromarray(mask).save(masks / "new" / name)
    rows = [[*row(n), f"masks/m{n}.png"] for n in (1, 2)]
    table = tmp_path / "t.csv"
    write_table(table, [(*COLUMNS, "Mask"), *rows], ",", "utf-8")
    options = [*OPTIONS, "--map=mask_path=Mask", "--pixel-unit=mm", "--no-contact-sheet"]
    first = ["--images", tmp_path / "films"]
    assert run(table, *first, *options) == 2
    error = capsys.readouterr().err
    assert f"add its folder, as in --images {tmp_path / 'films'} --images FOLDER" in error
    assert "mask 'masks/m1.png': no such mask in" in error
    assert run(table, *first, "--images", masks, *options) == 2
    error = capsys.readouterr().err
    assert "mask 'masks/m1.png': the only mask of that name is new/m1.png" in error
    stated = f"--images {tmp_path / 'films'} --images {masks} --images {masks / 'new'}"
    assert stated in error
    both = [*stated.split(), "--out", tmp_path]
    assert run(table, *both, *options) == 0
    written = [line["mask_path"] for line in read_manifest(tmp_path / "manifest.csv")]
    assert written == ["outlines/new/m1.png", "outlines/new/m2.png"]
    file = tmp_path / "map.toml"
    file.write_text(f"images = ['{tmp_path / 'films'}', '{masks / 'new'}']\n", encoding="utf-8")
    assert run(table, "--mapping", file, *options) == 0
    assert (tmp_path / "films" / "manifest.csv").exists()  # by default in the first folder
    file.write_text("images = [1]\n", encoding="utf-8")
    assert run(table, "--mapping", file, *options) == 2
    assert "images = [1] is invalid" in capsys.readouterr().err


def test_a_table_in_an_older_encoding_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    write_table(table, [COLUMNS, row(1, MRN="M\u00fcller")], ",", "cp850")
    assert run(table, *OPTIONS, *BOX) == 2
    error = capsys.readouterr().err
    assert "not a CSV in UTF-8 or Windows-1252 (cp1252)" in error
    assert "byte 0x81" in error and "line 2" in error and "save it as UTF-8" in error


def test_equal_faults_of_rows_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, [f"{n}.pgm" for n in range(24)])
    table = tmp_path / "t.csv"
    rows = [row(n, Spacing="0,2") for n in range(24)]
    rows[3][0] = ""
    write_table(table, [COLUMNS, *rows], ";", "utf-8")
    assert run(table, *OPTIONS, "--box=X,Y,W,H", "--unit=mm") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{table}: 2 errors;")
    assert "24 rows (lines 2-25): pixel size 0,2 um cannot be" in error
    assert "line 5: patient_id is empty\n" in error
    assert "needs the pixel size" not in error
    write_table(table, [COLUMNS, *(row(n, Spacing="") for n in (1, 3, 5))], ";", "utf-8")
    assert run(table, *OPTIONS, *BOX) == 2
    expected = "3 rows (lines 2-4): a box in mm needs the pixel size: column 'Spacing' is empty"
    assert expected in capsys.readouterr().err
    without = [option for option in OPTIONS if "pixel_um" not in option]
    assert run(table, *without, *BOX) == 2
    assert "needs the pixel size: --map pixel_um=COLUMN" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["new", "new/deeper", "kept"])
def test_a_failed_command_leaves_no_folder(out: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    (tmp_path / "kept").mkdir()
    write_table(table, [COLUMNS, row(1)], ",", "utf-8")
    assert run(table, *OPTIONS, *BOX, "--out", tmp_path / out) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "t.csv"]


@pytest.mark.parametrize("cell", ["60, 50", "60 50", "(60; 50)", "60;50;4", "60", "60,5", "a;b"])
def test_a_centre_in_another_form_names_the_form(
    cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films(tmp_path, ["1.pgm"])
    write_table(tmp_path / "t.csv", [(*COLUMNS, "c"), [*row(1), cell]], "\t", "utf-8")
    assert run(tmp_path / "t.csv", *OPTIONS, "--map=centre=c", "--pixel-unit=mm") == 2
    error = capsys.readouterr().err
    assert f"centre {cell!r} is invalid: expected row;column" in error
    assert run(tmp_path / "t.csv", *OPTIONS, "--map=circle=c", "--pixel-unit=mm") == (
        0 if cell == "60;50;4" else 2
    )
    if cell != "60;50;4":
        error = capsys.readouterr().err
        assert f"circle {cell!r} is invalid: expected row;column;radius" in error
