"""The reader of CSV tables gives the cells that Python's csv module gives, and the right lines."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_jax.io.read_csv import read_csv
from mtl_jax.types import InputError

CELL = st.text(st.sampled_from("a07N,;\t \"'\n\r\ufeff\x1c\u2028é\U0001d538#"), max_size=6)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=3), max_size=8)
PIECES = st.lists(
    st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", " ", "a", "NA", "#", "é"]), max_size=30
)


def expected(text: str) -> tuple[list[str], list[tuple[int, list[str]]], list]:
    """Header, rows and uneven rows, with the line each ends on; csv.Error if it is no CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = [(reader.line_num, row) for row in reader]
    rows = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return [], [], []
    (_, header), *rest = rows
    even = [(line, row) for line, row in rest if len(row) == len(header)]
    return header, even, [row for row in rest if row not in even]


def as_read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], list]:
    uneven: list = []
    table = read_csv(path, delimiter=",", uneven=uneven)
    rows = list(zip(table.index.tolist(), table.to_numpy().tolist(), strict=True))
    return table.columns.tolist(), rows, uneven


@settings(max_examples=1000, deadline=None)
@given(PIECES)
def test_any_text_is_read_as_by_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.csv"
    path.write_bytes("".join(pieces).encode())
    try:
        wanted = expected("".join(pieces))
    except csv.Error:
        with pytest.raises(InputError, match=r"line \d+: not a CSV"):
            as_read(path)
    else:
        assert as_read(path) == wanted


@settings(max_examples=300, deadline=None)
@given(ROWS, st.sampled_from(["\n", "\r\n"]))
def test_written_cells_come_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows(rows)
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    assert as_read(path) == expected(text.getvalue())


def test_cells_stay_as_written_and_rows_have_the_line_they_end_on(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('\nid, note \n007,"a\nb"\n\n ,  \nNA,\nnull, nan \n1.50,"1,5"\n')
    table = read_csv(path)
    assert table.columns.tolist() == ["id", " note "]
    assert table["id"].tolist() == ["007", "NA", "null", "1.50"]
    assert table[" note "].tolist() == ["a\nb", "", " nan ", "1,5"]
    assert table.index.tolist() == [4, 7, 8, 9] and table.index.name == "line"
    assert read_csv(path, strip=True)["note"].tolist() == ["a\nb", "", "nan", "1,5"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_delimiter_separates_most_known_columns(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(mark.join(("Patient-ID", "a,b;c", "box")) + "\n" + mark.join("123") + "\n")
    uneven: list = []
    table = read_csv(path, known=("patient_id", "box", "view"), uneven=uneven)
    assert "box" in table.columns


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b\n1,2\n1\n", "line 3: 1 cells under 2 columns"),
        (b"a,b\n\n1,2,\n", "line 3: 3 cells under 2 columns"),
        (b'a,b\n"1\n2",2\n"x"y,1\n', "line 4: not a CSV .*; check the quotes there"),
        (b'a,b\n1,"2\n3,4\n', "line 3: not a CSV .*; check the quotes there"),
        (b"a,b,a\n", "column a is repeated in its header; keep one"),
        (b'"a\nb","a\nb"\n', "column a b is repeated"),
        (b"a,b\n\xff,1\n", "not a CSV in UTF-8 .*; save it as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "holds zero bytes: it is UTF-16 or binary.*save it as"),
    ],
)
def test_an_invalid_table_is_named_in_one_line(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"t.csv:? ?.*{reason}") as error:
        read_csv(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("blank", [";;;;", '"";""', " ;\t;", "\r"])
def test_a_line_of_delimiters_is_no_header(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{blank}\n\nid;a,b\n1;2\n")
    table = read_csv(path, known=("id",))
    assert table.columns.tolist() == ["id", "a,b"] and table.index.tolist() == [4]


def test_without_a_known_column_the_most_frequent_delimiter_separates(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('"a,b,c";d\n1;2\n')
    assert read_csv(path, known=("no such column",)).columns.tolist() == ["a,b,c", "d"]


def test_another_encoding_where_the_caller_allows_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("name\nMünchen\n".encode("latin-1"))
    assert read_csv(path, encodings=("utf-8-sig", "latin-1"))["name"].tolist() == ["München"]


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n")
    assert read_csv(path).columns.tolist() == ["a", "b"] and read_csv(path).empty
    path.write_text(" \n\n")
    assert not len(read_csv(path).columns)
