"""Writers of the metrics of a training."""

import csv
import json
from pathlib import Path

import pytest

from mtl_jax.training.writers import open_writers

RECORDS = [
    {"epoch": 1, "loss": 0.75, "loss/sfm": 0.1 + 0.2},
    {"epoch": 2, "loss": 0.5, "loss/sfm": 0.25, "validation_loss": 0.125},
    {"epoch": 3, "loss": 0.25, "loss/sfm": 1e-9},
]


def write(folder: Path, begin: int, records: list[dict[str, float]]) -> None:
    with open_writers(("csv",), folder, begin) as writers:
        for record in records:
            writers.write(record)


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("begin", [0, 1, 2, 3])
def test_a_resumed_csv_equals_one_written_at_once(tmp_path: Path, begin: int) -> None:
    """Three epochs were written, but the checkpoint to resume from is that after `begin`."""
    write(tmp_path, 0, RECORDS)
    expected = (tmp_path / "history.csv").read_text()
    write(tmp_path, begin, RECORDS[begin:])
    assert (tmp_path / "history.csv").read_text() == expected
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == RECORDS


def test_a_csv_that_begins_later_has_the_epochs_before(tmp_path: Path) -> None:
    with open_writers((), tmp_path, 0) as writers:
        for record in RECORDS:
            writers.write(record)
    for _ in range(2):  # the second job resumes from the same checkpoint
        write(tmp_path, 1, RECORDS[1:])
    assert [float(row["epoch"]) for row in read(tmp_path)] == [1, 2, 3]


def test_the_csv_has_every_value_of_the_json_lines(tmp_path: Path) -> None:
    write(tmp_path, 0, RECORDS)
    for row, record in zip(read(tmp_path), RECORDS, strict=True):
        assert {name: float(value) for name, value in row.items() if value} == record
