"""Columns packed in memory: what was read, of its kind, in a small part of the space."""

import csv
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mtl_jax.data import shards
from mtl_jax.data.columns import Columns

KINDS = {"id": str, "label": int, "size": float, "note": str}


def lines(count: int) -> list[tuple[str, ...]]:
    """Ids as pseudonyms are, hard to pack; a note that is rare and long; numbers of every size."""
    rng = np.random.default_rng(0)
    return [
        (
            f"mine/{rng.bytes(8).hex()}/{number % 3}\u00e9",
            str(number % 2 - 9**17 * (number == 5)),
            repr(float(rng.normal() * 10.0 ** rng.integers(-300, 300))),
            '\U0001d538 \u540d, "clipped"\n' * 40 if number == 97 else "",
        )
        for number in range(count)
    ]


def blocks(count: int, at_once: int) -> list[list[tuple[str, ...]]]:
    rest = iter(lines(count))
    found = []
    while some := list(islice(rest, at_once)):
        found.append(list(zip(*some, strict=True)))
    return found


@pytest.mark.parametrize("at_once", [1, 64, 500])
def test_columns_are_what_was_put_in(at_once: int) -> None:
    columns = Columns(KINDS, blocks(200, at_once))
    assert list(columns) == list(KINDS) and len(columns) == 4 and columns.lines == 200
    for (name, kind), texts in zip(KINDS.items(), zip(*lines(200), strict=True), strict=True):
        column = columns[name]
        expected = np.array([kind(text) for text in texts])
        assert column.dtype == expected.dtype
        np.testing.assert_array_equal(column, expected)
        np.testing.assert_array_equal(np.concatenate(list(columns.parts(name))), expected)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]
    with pytest.raises(KeyError):
        columns["other"]


def test_numbers_come_back_to_the_bit() -> None:
    texts = ("-0.0", "nan", "inf", "5e-324", "1.7976931348623157e308", "0.1")
    (part,) = Columns({"x": float}, [[texts]]).parts("x")
    assert part.tobytes() == np.array([float(text) for text in texts]).tobytes()


def test_a_text_of_another_kind_is_refused() -> None:
    for kind, text in ((int, "1.5"), (float, ""), (int, "9" * 20)):
        with pytest.raises((ValueError, OverflowError)):
            Columns({"x": kind}, [[("1", text)]])


def test_a_table_without_lines() -> None:
    columns = Columns(KINDS, [])
    assert columns.lines == 0 and columns["size"].dtype == float and columns["id"].shape == (0,)


def test_an_index_takes_few_bytes_a_region_and_is_what_csv_reads(tmp_path: Path) -> None:
    """20,000 lines as they are with hashed ids: 36 bytes each, in which 20 are of the hashes (of a
    case 8, twice for two views, of an image 8). NumPy's arrays of the columns take 468. While it is
    read, some lines of it are there as text beside, however many there are."""
    rng, count, path = np.random.default_rng(1), 20_000, tmp_path / "index.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(shards.COLUMNS)
        for _ in range(count // 2):
            case, label = rng.bytes(8).hex(), int(rng.integers(2))
            for view in ("CC", "MLO"):
                centre, size = rng.integers(0, 4000, 2) / 4, rng.uniform(4, 40, 2).round(1)
                table.writerow(
                    [f"mine/{case}/1/{view}", case, "1", view, "L", "DM", label, "biopsy", "train"]
                    + [f"{rng.bytes(8).hex()}.dcm", 70.0, 70.0, "ImagerPixelSpacing"]
                    + [*centre.tolist(), *size.tolist(), 0.0, "", ""]
                )
    tracemalloc.start()
    index = shards._index(path)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert index.nbytes < held < 50 * count and most - held < 12e6
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name, kind in shards.COLUMNS.items():
        assert index[name].tolist() == [kind(row[name]) for row in rows]
    assert sum(column.nbytes for column in index.values()) == 468 * count
