"""The command line, thresholds and calibration of the ROC room."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_jax import roc
from mtl_jax.roc.__main__ import main


def write(path: Path, rows: list[dict]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def scores(seed: int, gap: float) -> list[dict]:
    """Two views of each of 60 lesions, two lesions a patient, in columns of scores.csv."""
    rng = np.random.default_rng(seed)
    return [
        {
            "roi_id": f"{lesion}-{view}",
            "case_id": f"p{lesion // 2}",
            "lesion_id": lesion,
            "view": view,
            "task": "dm",
            "label": lesion % 3 % 2,
            "score": round(float(rng.normal() + gap * (lesion % 3 % 2)), 4),
        }
        for lesion in range(60)
        for view in ("CC", "MLO")
    ]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["roc", *map(str, arguments), "--samples", "50"])
    return main()


def test_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write(tmp_path / "a.csv", scores(0, 1.5))
    b = write(tmp_path / "b.csv", scores(1, 0.5)[::-1])  # rows pair by id, not by place
    figure = tmp_path / "roc.svg"
    assert run(monkeypatch, a, "--compare", b, "--plot", figure) == 0
    out = capsys.readouterr().out
    assert "20 malignant and 40 benign lesions, 30 patients" in out
    first, second = (roc.view_to_lesion(
        [r["label"] for r in rows], [r["score"] for r in rows],
        [r["case_id"] for r in rows], [r["lesion_id"] for r in rows],
    ) for rows in (scores(0, 1.5), scores(1, 0.5)))  # fmt: skip
    for method in ("proper", "empirical"):
        found = roc.auc_interval(first.labels, first.scores, first.cases, method)
        line = next(line for line in out.splitlines() if line.startswith(method))
        assert line.split()[1:3] == [f"{found.auc:.4f}", f"{found.se:.4f}"]
        assert f"{found.ci_low:.4f} to {found.ci_high:.4f}" in line
    assert "clustered by patient" in out
    test = roc.compare(first.labels, first.scores, second.scores, "obuchowski", first.cases)
    line = next(line for line in out.splitlines() if line.startswith("obuchowski"))
    assert line.split()[1] == f"{test.delta:.4f}" and line.split()[7] == f"{test.p_value:.4f}"
    assert "<svg" in figure.read_text()
    assert run(monkeypatch, a, "--unit", "view") == 0
    assert "40 malignant and 80 benign views" in capsys.readouterr().out


def test_two_columns_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"label": r["label"], "score": r["score"]} for r in scores(0, 1.0)]
    a = write(tmp_path / "a.csv", rows)
    b = write(tmp_path / "b.csv", [r | {"score": -r["score"]} for r in rows])
    assert run(monkeypatch, a, "--compare", b) == 0
    assert "delong" in capsys.readouterr().out


def test_a_fit_that_may_be_no_headline_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [r | {"score": -r["score"]} for r in scores(0, 1.5)]
    figure = tmp_path / "roc.svg"
    a = write(tmp_path / "a.csv", rows)
    assert run(monkeypatch, a, "--plot", figure) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:6]]
    assert names == ["empirical", "bootstrap", "binormal", "proper"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "2"}, "neither 0"),
        ({"score": "high"}, "score in row 2 is no number: 'high'"),
        ({"score": "nan"}, "not finite"),
        ({"label": "1"}, "both truths"),
        ({"case_id": ""}, "1 ids are missing"),
    ],
)
def test_bad_tables_are_one_line_and_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    message: str,
) -> None:
    rows = scores(0, 1.0)
    a = write(tmp_path / "a.csv", [rows[0] | change, *rows[1:]])
    assert run(monkeypatch, a) == 2
    err = capsys.readouterr().err
    assert message in err and "a.csv" in err and err.count("\n") == 1


def test_files_that_do_not_pair_or_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = scores(0, 1.0)
    a = write(tmp_path / "a.csv", rows)
    swapped = [r | {"label": 1 - r["label"]} for r in rows]
    cases = {
        "cannot be read": (tmp_path / "none.csv",),
        "no column label": (write(tmp_path / "c.csv", [{"truth": 1, "score": 2}]),),
        "2 rows of": (a, "--unit", "view", "--compare", write(tmp_path / "d.csv", rows[2:])),
        "120 labels differ": (
            a, "--unit", "view", "--compare", write(tmp_path / "e.csv", swapped)),
        "more than once": (
            a, "--unit", "view", "--compare", write(tmp_path / "f.csv", [*rows, rows[0]])),
        "needs a column": (
            write(tmp_path / "g.csv", [{"label": r["label"], "score": r["score"]} for r in rows]),
            "--unit", "lesion"),
        "cannot be written": (a, "--plot", tmp_path / "roc.xyz"),
    }  # fmt: skip
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00label")
    cases["is no CSV file"] = (tmp_path / "bytes.csv",)
    (tmp_path / "empty.csv").write_text("label,score\n")
    cases["holds no row"] = (tmp_path / "empty.csv",)
    for message, arguments in cases.items():
        assert run(monkeypatch, *arguments) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (message, err)


def test_the_module_runs_from_a_shell(tmp_path: Path) -> None:
    a = write(tmp_path / "a.csv", scores(0, 1.0))
    command = [sys.executable, "-W", "error", "-m", "mtl_jax.roc", str(a), "--samples", "20"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "proper" in done.stdout and not done.stderr


def test_operating_points_by_hand() -> None:
    labels, values = [0, 0, 0, 0, 1, 1, 1, 1], [1, 2, 3, 6, 4, 5, 7, 8]
    best = roc.operating_point(labels, values)
    assert (best.threshold, best.sensitivity, best.specificity) == (4, 1.0, 0.75)
    assert best.youden == 0.75
    strict = roc.operating_point(labels, values, sensitivity=0.5)
    assert (strict.threshold, strict.sensitivity, strict.specificity) == (7, 0.5, 1.0)
    # Wilson's interval of 2 in 4, from the closed form worked by hand.
    np.testing.assert_allclose(strict.sensitivity_interval, (0.15004, 0.84996), atol=1e-5)
    with pytest.raises(ValueError, match="sensitivity"):
        roc.operating_point(labels, values, sensitivity=0.0)


def test_calibration_by_hand_and_in_the_limit() -> None:
    result = roc.calibration([0, 0, 1, 1], [0.1, 0.1, 0.6, 0.8], bins=2)
    assert result.brier == pytest.approx((0.01 + 0.01 + 0.16 + 0.04) / 4)
    np.testing.assert_allclose(result.predicted, [0.1, 0.7])
    np.testing.assert_allclose(result.observed, [0.0, 1.0])
    assert result.expected_error == pytest.approx((2 * 0.1 + 2 * 0.3) / 4)
    rng = np.random.default_rng(0)
    chance = rng.random(50_000)
    assert roc.calibration(rng.random(50_000) < chance, chance).expected_error < 0.01
    with pytest.raises(ValueError, match="probabilities"):
        roc.calibration([0, 1], [0.5, 1.5])
