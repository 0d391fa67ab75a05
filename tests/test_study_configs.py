"""Run each config beyond the paper end to end on a small phantom."""

import json

import numpy as np
import pytest
from study_command import finish, start

SMALL = {
    "network": "C1-C5",
    "train.epochs": "1",
    "train.match_steps": "False",
    "data.phantom.cases": "12",
    "data.sources": "('phantom:sfm','phantom:dm')",
    "learning_curve.target_cases": "(4,6)",
    "learning_curve.subsets": "2",
    "seeds.initializations": "3",
}
MTTL, STTL = "mttl", "sttl"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "approaches", "compared"),
    [
        (
            "heads",
            (MTTL, "mttl+heads=per_task", STTL),
            {(MTTL, "mttl+heads=per_task", "sfm"), (MTTL, STTL, "sfm")}
            | {("mttl+heads=per_task", STTL, "sfm")},
        ),
        (
            "task_weights",
            (MTTL, "mttl+weight.sfm=2"),
            {(MTTL, "mttl+weight.sfm=2", "sfm")},
        ),
        (
            "leave_one_out",
            (MTTL, "mttl+without=each"),
            {(MTTL, f"mttl+without={name}", "sfm") for name in ("sfm", "dm")}
            | {("mttl+without=sfm", "mttl+without=dm", "sfm")},
        ),
        (
            "each_task",
            (MTTL, STTL, "sttl+of=each"),
            {(MTTL, STTL, "sfm"), (MTTL, "sttl+of=dm", "dm")},
        ),
        ("learning_curve", (MTTL, STTL), {(MTTL, STTL, "sfm")}),
        ("seeds", (MTTL, STTL), set()),
    ],
)
def test_config_end_to_end(
    config: str,
    approaches: tuple[str, ...],
    compared: set[tuple[str, str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = tmp_path_factory.getbasetemp() / "study_configs"
    cache.mkdir(exist_ok=True)
    workdir = tmp_path_factory.mktemp(config)
    overrides = {"approaches": repr(approaches), "statistics.primary.pair": "()"}
    finish(start(workdir, cache, {**SMALL, **overrides}, job=config))
    results = json.loads((workdir / "results.json").read_text())
    assert {(c["a"], c["b"], c["task"]) for c in results["comparisons"]} == compared
    assert {row["unit"] for row in results["comparisons"] or results["auc"]} == {"view", "lesion"}
    assert (workdir / "report.html").is_file()
    if config == "seeds":
        assert [np.shape(row["aucs"]) for row in results["seeds"]] == [(3, 1)] * 4
        assert all(row["sd_initializations"] is not None for row in results["seeds"])
        assert "SD over initializations" in (workdir / "report.html").read_text()
    if config == "learning_curve":
        rows = {(r["study"], r["target_cases"], r["unit"]): r for r in results["learning_curve"]}
        assert len(rows) == 8 and all(len(row["aucs"]) == 2 for row in rows.values())
        train_counts = {run["id"]: run["rois_learned"]["sfm"] for run in results["runs"]}
        assert all(
            count < train_counts[run_id.replace("cases4", "cases6")]
            for run_id, count in train_counts.items()
            if "cases4" in run_id
        )
