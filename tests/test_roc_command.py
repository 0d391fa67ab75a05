"""The command line, operating points and calibration of mtl_jax.roc."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mtl_jax import roc
from mtl_jax.roc.__main__ import main
from mtl_jax.roc.read_scores import read_scores
from mtl_jax.types import InputError


def write_csv(path: Path, rows: list[dict]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def score_rows(seed: int, signal: float) -> list[dict]:
    """Return rows of scores.csv: 60 lesions of two views, two lesions per patient."""
    rng = np.random.default_rng(seed)
    return [
        {
            "roi_id": f"{lesion}-{view}",
            "case_id": f"p{lesion // 2}",
            "lesion_id": lesion,
            "view": view,
            "task": "dm",
            "label": lesion % 3 % 2,
            "score": round(float(rng.normal() + signal * (lesion % 3 % 2)), 4),
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
    a = write_csv(tmp_path / "a.csv", score_rows(0, 1.5))
    b = write_csv(tmp_path / "b.csv", score_rows(1, 0.5)[::-1])  # rows pair by id, not by position
    figure = tmp_path / "roc.svg"
    assert run(monkeypatch, a, "--compare", b, "--plot", figure) == 0
    out = capsys.readouterr().out
    assert "20 malignant and 40 benign lesions, 30 patients" in out
    first, second = (roc.view_to_lesion(
        [r["label"] for r in rows], [r["score"] for r in rows],
        [r["case_id"] for r in rows], [r["lesion_id"] for r in rows],
    ) for rows in (score_rows(0, 1.5), score_rows(1, 0.5)))  # fmt: skip
    for method in ("proper", "empirical"):
        interval = roc.auc_interval(first.labels, first.scores, first.cases, method)
        line = next(line for line in out.splitlines() if line.startswith(method))
        assert line.split()[1:3] == [f"{interval.auc:.4f}", f"{interval.se:.4f}"]
        assert f"{interval.ci_low:.4f} to {interval.ci_high:.4f}" in line
    assert "clustered by case" in out
    test = roc.compare(first.labels, first.scores, second.scores, "obuchowski", first.cases)
    line = next(line for line in out.splitlines() if line.startswith("obuchowski"))
    assert line.split()[1] == f"{test.delta:.4f}" and line.split()[7] == f"{test.p_value:.4f}"
    assert "<svg" in figure.read_text()
    assert run(monkeypatch, a, "--unit", "view") == 0
    assert "40 malignant and 80 benign views" in capsys.readouterr().out


def test_label_and_score_columns_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"label": r["label"], "score": r["score"]} for r in score_rows(0, 1.0)]
    a = write_csv(tmp_path / "a.csv", rows)
    b = write_csv(tmp_path / "b.csv", [r | {"score": -r["score"]} for r in rows])
    assert run(monkeypatch, a, "--compare", b) == 0
    assert "delong" in capsys.readouterr().out


def test_degenerate_proper_fit_is_listed_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [r | {"score": -r["score"]} for r in score_rows(0, 1.5)]
    figure = tmp_path / "roc.svg"
    a = write_csv(tmp_path / "a.csv", rows)
    assert run(monkeypatch, a, "--plot", figure) == 0
    lines = capsys.readouterr().out.split("status\n")[1].splitlines()
    names = [line.split()[0] for line in lines[:4]]
    assert names == ["empirical", "bootstrap", "binormal", "proper"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "2"}, "expected 0"),
        ({"score": "high"}, "score in line 2 is not a number: 'high'"),
        ({"score": "1_0"}, "score in line 2 is not a number: '1_0'"),
        ({"score": "nan"}, "not finite"),
        ({"label": "1"}, "two labels"),
        ({"lesion_id": ""}, "1 of 120 rows have no lesion id; the first is line 2; fill it in, or"),
        ({"case_id": ""}, "1 of 120 rows have no case_id; the first is line 2; fill it in"),
    ],
)
def test_invalid_tables_give_a_one_line_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    message: str,
) -> None:
    rows = score_rows(0, 1.0)
    a = write_csv(tmp_path / "a.csv", [rows[0] | change, *rows[1:]])
    assert run(monkeypatch, a) == 2
    err = capsys.readouterr().err
    assert message in err and "a.csv" in err and err.count("\n") == 1


def test_missing_or_unmatched_files_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = score_rows(0, 1.0)
    a = write_csv(tmp_path / "a.csv", rows)
    swapped = [r | {"label": 1 - r["label"]} for r in rows]
    cases = {
        "cannot be read": (tmp_path / "none.csv",),
        "no column label": (write_csv(tmp_path / "c.csv", [{"outcome": 1, "score": 2}]),),
        "2 rows of": (a, "--unit", "view", "--compare", write_csv(tmp_path / "d.csv", rows[2:])),
        "120 rows have another label than in": (
            a, "--unit", "view", "--compare", write_csv(tmp_path / "e.csv", swapped)),
        "more than once": (
            a, "--unit", "view", "--compare", write_csv(tmp_path / "f.csv", [*rows, rows[0]])),
        "needs a column": (
            write_csv(tmp_path / "g.csv", [{k: r[k] for k in ("label", "score")} for r in rows]),
            "--unit", "lesion"),
        "no format of figures": (a, "--plot", tmp_path / "roc.xyz"),
    }  # fmt: skip
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00label")
    cases["not a CSV in UTF-8"] = (tmp_path / "bytes.csv",)
    (tmp_path / "empty.csv").write_text("label,score\n")
    cases["has no row below its header"] = (tmp_path / "empty.csv",)
    for message, arguments in cases.items():
        assert run(monkeypatch, *arguments) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (message, err)


def test_tasks_are_evaluated_separately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal ids in two collections are different patients; each AUC uses one collection."""
    rows_by_task = {
        "sfm": score_rows(3, 1.0),
        "dm": [r | {"score": r["score"] + 9} for r in score_rows(4, 0.2)],
    }
    both = [r | {"task": task} for task, rows in rows_by_task.items() for r in rows]
    a = write_csv(tmp_path / "a.csv", both)
    b = write_csv(tmp_path / "b.csv", [r | {"score": -r["score"]} for r in reversed(both)])
    expected = {}
    for task, rows in rows_by_task.items():
        means = {
            lesion: np.mean([r["score"] for r in rows if r["lesion_id"] == lesion])
            for lesion in range(60)
        }
        ranks = stats.rankdata(list(means.values()))  # Mann-Whitney, by SciPy
        malignant = np.array([lesion % 3 % 2 for lesion in means]) == 1
        n = malignant.sum()
        expected[task] = (ranks[malignant].sum() - n * (n + 1) / 2) / (n * (60 - n))
    figure = tmp_path / "roc.svg"
    assert run(monkeypatch, a, "--compare", b, "--plot", figure) == 0
    parts = capsys.readouterr().out.split("task ")[1:]
    assert [part.split()[0] for part in parts] == ["sfm", "dm"]
    for part, (task, auc) in zip(parts, expected.items(), strict=True):
        lines = [line.split() for line in part.splitlines() if line.startswith("empirical")]
        shown = [float(line[1]) for line in lines]
        assert shown == pytest.approx([auc, 1 - auc], abs=6e-5), task
        assert "20 malignant and 40 benign lesions, 30 patients" in part
    svg = figure.read_text()
    assert "a, sfm" in svg and "b, dm" in svg
    assert run(monkeypatch, a, "--task", "dm", "--unit", "view") == 0
    out = capsys.readouterr().out
    assert "40 malignant and 80 benign views" in out and "task " not in out
    no_task = [{k: v for k, v in r.items() if k != "task"} for r in rows_by_task["sfm"]]
    c, d = write_csv(tmp_path / "c.csv", rows_by_task["dm"]), write_csv(tmp_path / "d.csv", no_task)
    e = write_csv(tmp_path / "e.csv", [both[0] | {"task": ""}, *both[1:]])
    for message, arguments in {
        "a.csv: has no row of task 'ddsm'; choose one of its tasks with --task: sfm, dm": (
            a,
            "--task",
            "ddsm",
        ),
        "c.csv: has no row of task 'sfm'; choose one of its tasks with --task: dm": (
            a,
            "--compare",
            c,
        ),
        "d.csv: has no column task": (a, "--compare", d),
        "e.csv: line 2 has no task": (e,),
    }.items():
        assert run(monkeypatch, *arguments) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


def test_equal_lesion_ids_in_both_breasts_are_two_lesions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [r | {"laterality": ("L", "left")[i % 2]} for i, r in enumerate(score_rows(5, 1.0))]
    rows += [
        r | {"laterality": "R", "label": 1 - r["label"], "roi_id": f"R{r['roi_id']}"} for r in rows
    ]
    assert run(monkeypatch, write_csv(tmp_path / "a.csv", rows)) == 0
    assert "60 malignant and 60 benign lesions, 30 patients" in capsys.readouterr().out
    rows[7] |= {"laterality": ""}
    assert run(monkeypatch, write_csv(tmp_path / "b.csv", rows)) == 2
    assert "laterality in line 9 is ''" in capsys.readouterr().err


def test_two_views_may_have_equal_ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a view column, two views of a patient with equal ratings are equal rows."""
    path = tmp_path / "ratings.csv"
    rows = "0,1,a\n0,1,a\n0,2,b\n0,3,b\n1,4,c\n1,4,c\n1,2,d\n1,5,d\n"
    path.write_text(f"label,score,case\n{rows}")
    assert run(monkeypatch, path, "--samples", "20") == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "label,score\n0,0,15\n1,0,72\n",
            "line 2, with 3 cells for 2 columns; write decimal numbers",
        ),
        ("score,label\n-1,5,0\n2,25,1\n", "2 of 2 rows have more or fewer cells than the header"),
        ("label,score,\n0,0,15\n1,0,72\n", "'15' in line 2 is in a column without a name"),
        (
            "label,score,case\n0,0.2,a\n1,0.7\n",
            "line 3, with 2 cells for 3 columns; add the missing cell",
        ),
        ("label,score\n0,0.2,\n1,0.7\n", "line 2, with 3 cells for 2 columns; delete the comma"),
        ("score,label,score\n1,0,2\n3,1,4\n", "column score is repeated"),
        (
            "label,score,case,case_id\n0,1,a,b\n1,2,b,a\n",
            "case and case_id both name the field case",
        ),
        (
            "label;score\n0;0.2\n1;0.7\n",
            "its cells are separated by semicolons: save it with commas",
        ),
        (
            "label;score\n0;0,2\n1;0,7\n",
            "its cells are separated by semicolons: save it with commas",
        ),
        ("label;score,x\n0;0.2,\n1;0.7,\n", "label;score, x; separate cells with commas"),
        (
            "label,score,roi\n0,1,a\n1,2,b\n0,1,a\n",
            "roi a appears more than once, in lines 2 and 4",
        ),
        (
            "label,score,case,lesion,view\n0,1,p,1,CC\n1,2,q,1,CC\n0,1,p,1,CC\n",
            "case p, lesion 1, view CC, label 0.0, score 1.0 appears more than once",
        ),
        (
            "label,score,case,lesion\n0,1,p,1\n1,2,p,1\n1,2,q,1\n",
            "case p, lesion 1 has two labels, 0 in line 2 and 1 in line 3",
        ),
        # A repeated row, for each combination of id columns; empty columns do not count.
        (
            "label,score,case\n0,.1,p\n1,.2,q\n0,.1,p\n",
            "in lines 2 and 4; delete one, or add a column",
        ),
        ("label,score,lesion\n0,.5,p\n1,2,q\n0,.5,p\n", "lesion p, label 0.0, score 0.5 appears"),
        ("label,score,case,lesion\n0,.1,p,1\n1,2,q,1\n0,.1,p,1\n", "or add a column view or roi"),
        ("label,score,case,view,roi\n0,1,p,CC,\n1,2,q,CC,\n0,1,p,CC,\n", "view CC, label 0.0"),
        ("label,score,case,roi\n0,1,p,a\n1,2,q,\n1,2,q,\n", "case q, label 1.0, score 2.0"),
        ("label,score,Score\n0,1,2\n1,2,3\n", "columns score and Score both name the field score"),
        (
            "label,score,Case ID,patient\n0,1,a,b\n1,2,b,a\n",
            "Case ID and patient both name the field",
        ),
        ("label,score,side\n0,1,caudal\n1,2,R\n", "side in line 2 is 'caudal'; expected L or R"),
        (
            'label,score\n0,"0,15"\n1,"0,72"\n',
            "not a number: '0,15'; write decimal numbers with points",
        ),
        ("label\tscore\n0\t0.2\n1\t0.7\n", "its cells are separated by tabs: save it with commas"),
        ("sep=,\nlabel,score\n0,0.2\n1,0.7\n", "begins with 'sep='; delete that line"),
    ],
)
def test_ambiguous_tables_are_rejected(
    text: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    for unit in ((), ("--unit", "view")):
        assert run(monkeypatch, path, *unit) == 2
        err = capsys.readouterr().err
        assert message in err and "scores.csv" in err and err.count("\n") == 1, err


def test_blanks_and_empty_trailing_columns_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("label, score ,case,,\n0, 0.5,a ,,\n1,0.25, b,,\n,,,,\n\n")
    table = read_scores(path)
    assert (table.labels, table.scores) == ([0, 1], [0.5, 0.25])
    assert table.ids == {"case": ["a", "b"]}


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        ({"case": "patient_id", "task": "Task"}, "task = Task, case = patient_id"),
        ({"case": "Patient-ID", "laterality": "side"}, "case = Patient-ID, laterality = side"),
        ({"case": "PATIENT", "task": " Data Set "}, "task = Data Set, case = PATIENT"),
        ({"task": "Collection", "lesion": "lesion.id"}, "task = Collection, lesion = lesion.id"),
        ({"case": "group_id"}, "case = group_id"),
        ({"task": "cohort", "label": "Label"}, "label = Label, task = cohort"),
        ({"laterality": "Laterality"}, "laterality = Laterality"),
    ],
)
def test_columns_are_recognized_by_each_of_their_names(
    renamed: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The output equals that with the standard column names."""
    rows = [
        {
            "label": r["label"], "score": r["score"] + 9 * (task == "dm"), "task": task,
            "case": r["case_id"], "lesion": r["lesion_id"] // 4, "laterality": "LR"[number % 2],
            "view": r["view"],
        }
        for task in ("sfm", "dm")
        for number, r in enumerate([r for r in score_rows(6, 0.8) if r["lesion_id"] % 2 == 0])
    ]  # fmt: skip
    plain = write_csv(tmp_path / "a.csv", rows)
    assert run(monkeypatch, plain) == 0
    expected = capsys.readouterr().out
    assert "columns:" not in expected and "ignored" not in expected
    (tmp_path / "b").mkdir()
    renamed_rows = [
        {renamed.get(f, f): v for f, v in r.items()} | {"kVp": 28, "Age": ""} for r in rows
    ]
    assert run(monkeypatch, write_csv(tmp_path / "b" / "a.csv", renamed_rows)) == 0
    lines = capsys.readouterr().out.replace(str(tmp_path / "b"), str(tmp_path)).splitlines()
    assert lines[:2] == [f"{plain}: columns: {message}", f"{plain}: ignored columns: kVp, Age"]
    assert lines[2:] == expected.splitlines()


def test_rows_are_paired_by_order_only_if_neither_file_has_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [r | {"side": "LR"[i % 2]} for i, r in enumerate(score_rows(7, 1.0)[::2])]
    fields_by_file = {
        "p": ("label", "score", "patient_id", "lesion_id"),
        "none": ("label", "score"),
        "side": ("label", "score", "side", "view"),
        "roi": ("label", "score", "roi_id"),
    }
    files = {
        name: write_csv(
            tmp_path / f"{name}.csv",
            [{f: (r | {"patient_id": r["case_id"]})[f] for f in fields} for r in rows],
        )
        for name, fields in fields_by_file.items()
    }
    negated = [{"label": r["label"], "score": -r["score"]} for r in rows]
    files["other"] = write_csv(tmp_path / "other.csv", negated)
    files["shifted"] = write_csv(tmp_path / "shifted.csv", negated[1:] + negated[:1])
    files["swapped_side"] = write_csv(
        tmp_path / "swapped_side.csv", [r | {"side": "RL"[i % 2]} for i, r in enumerate(negated)]
    )
    for a, b in (("none", "other"), ("side", "other"), ("other", "side")):
        assert run(monkeypatch, files[a], "--compare", files[b]) == 0
        assert (
            "rows paired by their order, because the files have no ids" in capsys.readouterr().out
        )
    assert run(monkeypatch, files["p"], "--compare", files["p"]) == 0
    assert "rows paired by case, lesion" in capsys.readouterr().out
    for a, b, message in (
        ("p", "none", "none.csv: has no column case or lesion, which pairs its rows"),
        ("none", "p", "none.csv: has no column case or lesion, which pairs its rows"),
        ("roi", "side", "side.csv: has no column roi, which pairs its rows"),
        ("roi", "p", "p.csv: has no column roi, which pairs its rows"),
        ("none", "shifted", "rows have another label than in"),
        ("side", "swapped_side", "60 rows have another laterality than in"),
    ):
        assert run(monkeypatch, files[a], "--unit", "view", "--compare", files[b]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (a, b, err)


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--seed", "-1"), ("--seed", "1.5"), ("--samples", "99999999999"), ("--samples", "1")],
)
def test_invalid_seed_or_sample_count_names_its_flag(tmp_path: Path, flag: str, value: str) -> None:
    a = write_csv(tmp_path / "a.csv", score_rows(0, 1.0))
    command = [sys.executable, "-m", "mtl_jax.roc", str(a), f"{flag}={value}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"{flag}={value} is invalid: expected an integer from ")
    assert done.stderr.count("\n") == 1


def test_lesions_csv_of_a_scoring_is_read_if_its_truth_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read the columns that tools/score.py writes, with 4 benign and 3 malignant lesions."""
    rows = [
        {"case_id": f"c{i}", "lesion_id": "x", "truth": ("benign", "Malignant")[i % 2],
         "score": i / 10, "probability": "", "flags": "far;dark"}
        for i in range(7)
    ]  # fmt: skip
    assert run(monkeypatch, write_csv(tmp_path / "a.csv", rows)) == 0
    out = capsys.readouterr().out
    assert "a.csv: columns: label = truth, case = case_id, lesion = lesion_id\n" in out
    assert "a.csv: ignored columns: probability, flags\n" in out
    assert "3 malignant and 4 benign lesions, 7 patients" in out
    assert (
        "empirical        0.5000" in out
    )  # pairs of scores .1, .3, .5 above 0, .2, .4, .6: 1 + 2 + 3 of 12
    # A lesion without a reference standard is left out and counted: 2 + 2 + 2 of 9 pairs.
    partly = write_csv(tmp_path / "b.csv", [*rows[:-1], rows[-1] | {"truth": ""}])
    assert run(monkeypatch, partly) == 0
    out = capsys.readouterr().out
    assert "b.csv: rows left out: 1 of 7, whose truth is empty\n" in out
    assert (
        "3 malignant and 3 benign lesions, 6 patients" in out and "empirical        0.6667" in out
    )
    unknown = write_csv(tmp_path / "c.csv", [row | {"truth": ""} for row in rows])
    assert run(monkeypatch, unknown) == 2
    assert "c.csv: truth is empty in all 7 rows; fill it in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (("0", "1"), ()),
        (("0.0", "1.0"), ()),
        (("False", "True"), ()),
        (("Benign", "MALIGNANT"), ()),
        (("negative", "positive"), ()),
        (("N", "C"), ("--classes", "n,c")),
        (("malignant", "benign"), ("--classes", "malignant,benign")),  # the user decides
        (("1", "2"), ("--classes", "1,2")),
    ],
)
def test_two_words_name_the_classes(
    labels: tuple[str, str],
    options: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second word is the positive class: 7 of 9 pairs are in order, as counted by hand."""
    values = {0: (1, 2, 5), 1: (3, 4, 6)}
    rows = [
        {"y_true": labels[i], "y_score": score} for i, scores in values.items() for score in scores
    ]
    assert run(monkeypatch, write_csv(tmp_path / "a.csv", rows), *options) == 0
    out = capsys.readouterr().out
    assert "a.csv: columns: label = y_true, score = y_score\n" in out
    assert "empirical        0.7778" in out


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("label,score\nB,1\nM,2\nB,3\n", (), "label has the values B, M (line 2); expected 0"),
        ("label,score\nbenign,1\n1,2\n", (), "label has the values benign, 1 (line"),
        ("label,score\nB,1\nM,2\nx,3\n", ("--classes", "b,m"), "B, M, x (line 4); expected b or"),
        ("label,score\n0,1\n1,2\n", ("--classes", "1"), "--classes=1 is invalid: expected two"),
        ("label,score\n0,1\n1,2\n", ("--classes", "1,1.0"), "the negative class first"),
        ("y_true,label,score\n0,0,1\n1,1,2\n", (), "y_true and label both name the field label"),
        ("truth,probability\nbenign,.1\nmalignant,.2\n", (), "rename probability to score"),
    ],
)
def test_classes_and_columns_are_never_guessed(
    text: str,
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    command = [sys.executable, "-m", "mtl_jax.roc", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_where_selects_the_runs_of_a_table_of_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One table with the runs of two approaches gives the results of two tables of one run."""
    runs = {("mttl", 0): (0, 1.5), ("sttl", 0): (1, 0.5), ("mttl", 1): (2, 1.5)}
    merged = []
    for (approach, seed), simulation in runs.items():
        rows = [row | {"approach": approach, "seed": seed} for row in score_rows(*simulation)]
        merged += rows
    path = write_csv(tmp_path / "predictions.csv", merged)
    assert run(monkeypatch, path) == 2
    err = capsys.readouterr().err
    assert "has 3 scores" in err and "approach: mttl, sttl; choose rows with --where" in err
    assert run(monkeypatch, path, "--where", "approach=mttl") == 2
    assert "differ in seed: 0, 1; choose" in capsys.readouterr().err

    where = ("--where", "approach=mttl", "--where", "Seed=0")
    compared = ("--compare", path, "--compare-where", "approach=sttl")
    assert run(monkeypatch, path, *where, *compared) == 0
    out = capsys.readouterr().out
    assert "predictions.csv (approach=mttl, seed=0): rows used: 120 of 360\n" in out
    a = write_csv(tmp_path / "a.csv", score_rows(0, 1.5))
    b = write_csv(tmp_path / "b.csv", score_rows(1, 0.5))
    assert run(monkeypatch, a, "--compare", b) == 0
    separate = capsys.readouterr().out
    numbers = [[line for line in text.splitlines() if "0." in line] for text in (out, separate)]
    assert numbers[0] == numbers[1] and len(numbers[0]) > 10

    for conditions, message in (
        (("--where", "approach=mtl"), "no row has approach=mtl; its values are mttl, sttl"),
        (("--where", "aproach=mttl"), "no column aproach; its columns are roi_id"),
        (("--where", "seed=0", "--where", "seed=1"), "seed is both 0 and 1"),
        (("--where", "seed=0", "--compare-where", "seed=1"), "needs --compare"),
    ):
        assert run(monkeypatch, path, *conditions) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(InputError, match="expected COLUMN=VALUE"):
        run(monkeypatch, path, "--where", "approach")


def test_pooled_folds_are_noted_and_repeated_initializations_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folds of 30 lesions each, scored by their own networks; patients are in one fold."""
    rows = [row | {"fold": 1 + row["lesion_id"] // 30, "seed": 0} for row in score_rows(0, 1.0)]
    path = write_csv(tmp_path / "predictions.csv", rows)
    assert run(monkeypatch, path) == 0
    out = capsys.readouterr().out
    assert "predictions.csv: the scores of 2 folds are pooled; the headline of a report" in out
    assert "the mean of the AUCs of the folds; for one fold add --where fold=1\n" in out
    assert run(monkeypatch, path, "--where", "fold=1") == 0
    assert "folds are pooled" not in capsys.readouterr().out
    test_set = write_csv(tmp_path / "test.csv", [row | {"fold": ""} for row in rows])
    assert run(monkeypatch, test_set) == 0
    assert "folds are pooled" not in capsys.readouterr().out
    # A second initialization scores the same lesions: its scores would be averaged.
    path = write_csv(tmp_path / "b.csv", [*rows, *(row | {"seed": 1} for row in rows)])
    assert run(monkeypatch, path) == 2
    assert "differ in seed: 0, 1; choose rows with --where" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("none/roc.svg", "there is no folder {folder}/none; make it"),
        ("roc.csv", ".csv is no format of figures; choose one of"),
        ("", "is a folder; name a file, such as {folder}/roc.svg"),
    ],
)
def test_an_impossible_figure_is_rejected_before_the_statistics(
    figure: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_csv(tmp_path / "a.csv", score_rows(0, 1.0))
    assert run(monkeypatch, path, "--plot", tmp_path / figure) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"--plot {tmp_path / figure}: ")
    assert message.format(folder=tmp_path) in captured.err


def test_module_runs_as_a_command(tmp_path: Path) -> None:
    a = write_csv(tmp_path / "a.csv", score_rows(0, 1.0))
    command = [sys.executable, "-W", "error", "-m", "mtl_jax.roc", str(a), "--samples", "20"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "proper" in done.stdout and not done.stderr


def test_closed_pipe_gives_no_error_and_the_figure_is_written(tmp_path: Path) -> None:
    a, figure = write_csv(tmp_path / "a.csv", score_rows(0, 1.0)), tmp_path / "roc.svg"
    read_end, write_end = os.pipe()
    os.close(read_end)  # no reader, as with `| head -0`
    command = [
        sys.executable,
        "-m",
        "mtl_jax.roc",
        str(a),
        "--samples",
        "20",
        "--plot",
        str(figure),
    ]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")
    assert "<svg" in figure.read_text()


def test_operating_points_match_hand_computed_values() -> None:
    labels, values = [0, 0, 0, 0, 1, 1, 1, 1], [1, 2, 3, 6, 4, 5, 7, 8]
    best = roc.operating_point(labels, values)
    assert (best.threshold, best.sensitivity, best.specificity) == (4, 1.0, 0.75)
    assert best.youden == 0.75
    strict = roc.operating_point(labels, values, sensitivity=0.5)
    assert (strict.threshold, strict.sensitivity, strict.specificity) == (7, 0.5, 1.0)
    # Wilson's interval of 2 of 4, computed by hand.
    np.testing.assert_allclose(strict.sensitivity_interval, (0.15004, 0.84996), atol=1e-5)
    with pytest.raises(ValueError, match="sensitivity"):
        roc.operating_point(labels, values, sensitivity=0.0)


def test_calibration_of_a_hand_computed_and_a_large_sample() -> None:
    result = roc.calibration([0, 0, 1, 1], [0.1, 0.1, 0.6, 0.8], bins=2)
    assert result.brier == pytest.approx((0.01 + 0.01 + 0.16 + 0.04) / 4)
    np.testing.assert_allclose(result.predicted, [0.1, 0.7])
    np.testing.assert_allclose(result.observed, [0.0, 1.0])
    assert result.expected_error == pytest.approx((2 * 0.1 + 2 * 0.3) / 4)
    rng = np.random.default_rng(0)
    chance = rng.random(50_000)
    assert roc.calibration(rng.random(50_000) < chance, chance).expected_error < 0.01
    with pytest.raises(ValueError, match="not a probability"):
        roc.calibration([0, 1], [0.5, 1.5])
