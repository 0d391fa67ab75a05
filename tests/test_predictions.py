"""predictions.csv: one row for each stage, run and ROI, as the runs scored them."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mtl_jax.experiments.predictions import FILE, read_predictions, write_predictions
from mtl_jax.experiments.scores import Scores, concatenate, equal_scores
from mtl_jax.types import InputError, Run

FOLD = Run("sttl", ("sfm",), "C1-C3", 0, 5, split=2, initialization=1)
TEST = Run("mttl+heads=per_task", ("sfm", "dm"), "C1", None, 5, target_cases=20)
STAGES = {"splits": [FOLD], "depth": [FOLD], "test": [TEST]}


def table(ids: list[str], task: str, labels: list[int], scores: list[float]) -> Scores:
    columns = (np.array([f"{part}{i}" for i in ids]) for part in ("r", "", "l"))
    return Scores(
        *columns, np.array(["CC"] * len(ids)), np.array([task] * len(ids)),
        np.array(labels), np.float32(scores),
    )  # fmt: skip


TABLES = {
    FOLD.id: table(["007", "NA"], "sfm", [1, 0], [0.1, 1 / 3]),
    TEST.id: table(["=1+1"], "dm", [0], [1e-9]),
}


def test_the_rows_are_those_of_the_stages(tmp_path: Path) -> None:
    write_predictions(tmp_path, STAGES, TABLES)
    with (tmp_path / FILE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["splits", "splits", "depth", "depth", "test"]
    assert rows[0] == {
        "stage": "splits", "approach": "sttl", "network": "C1-C3", "split": "2", "fold": "1",
        "target_cases": "", "initialization": "1", "seed": "5",
        "run": "sttl-C1-C3-split2-fold1-seed5-init1", "task": "sfm", "case_id": "007",
        "lesion_id": "l007", "view": "CC", "roi_id": "r007", "truth": "1", "score": "0.100000001",
    }  # fmt: skip
    last = rows[-1]
    assert (last["split"], last["fold"], last["target_cases"]) == ("", "", "20")
    assert last["case_id"] == "'=1+1"  # which a spreadsheet would calculate


def test_values_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_predictions(tmp_path, STAGES, TABLES)
    predictions = read_predictions(tmp_path)
    assert predictions["case_id"].tolist() == ["007", "NA", "007", "NA", "'=1+1"]
    assert predictions["fold"].isna().tolist() == [False] * 4 + [True]
    scores = predictions.loc[predictions["stage"] == "depth", "score"]
    np.testing.assert_array_equal(scores.to_numpy(np.float32), TABLES[FOLD.id].score)
    assert pd.api.types.is_integer_dtype(predictions["truth"])


def test_a_missing_or_damaged_table_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="predictions.csv: no such file; run the job again"):
        read_predictions(tmp_path)
    write_predictions(tmp_path, STAGES, TABLES)
    text = (tmp_path / FILE).read_text()
    for damaged in (text.replace("0.100000001", "high"), text.replace("truth", "turth"), ""):
        (tmp_path / FILE).write_text(damaged)
        with pytest.raises(InputError, match="predictions.csv: damaged"):
            read_predictions(tmp_path)


def test_a_shortened_table_is_rejected_by_its_checksum(tmp_path: Path) -> None:
    sha256 = write_predictions(tmp_path, STAGES, TABLES)
    assert len(read_predictions(tmp_path, sha256)) == 5
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join(lines[:-1]))  # ends with a whole row
    with pytest.raises(InputError, match="predictions.csv: does not match the checksum"):
        read_predictions(tmp_path, sha256)


def test_a_failed_write_keeps_the_table_before(tmp_path: Path) -> None:
    write_predictions(tmp_path, STAGES, TABLES)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(KeyError):  # after the first stages are in the draft
        write_predictions(tmp_path, STAGES, {FOLD.id: TABLES[FOLD.id]})
    assert (tmp_path / FILE).read_bytes() == before


def test_runs_that_give_most_rois_one_score_are_found() -> None:
    """Not those of perfect networks, of one class, or of few ROIs."""
    ids, labels = list("abcdefghij"), [1] * 5 + [0] * 5
    spread = [0.1 + i / 100 for i in range(10)]
    dead = table(ids, "sfm", labels, [0.52] * 3 + [0.6, 0.7] + [0.52] * 4 + [0.1])
    half = [0.52] * 3 + [0.6, 0.7] + [0.52] * 2 + [0.1, 0.2, 0.3]
    tables = {
        "dead": concatenate([table(ids, "dm", labels, spread), dead]),
        "half of the benign": table(ids, "sfm", labels, half),
        "perfect": table(ids, "sfm", [1] * 8 + [0] * 2, [1.0] * 8 + [0.1, 0.2]),
        "one class": table(ids, "sfm", [1] * 10, [0.52] * 10),
        "few": dead.select_rows(np.arange(9)),
    }
    assert equal_scores(tables) == [{"run": "dead", "collection": "sfm", "fraction": 0.7}]
