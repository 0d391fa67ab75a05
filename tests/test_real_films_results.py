"""docs/real_films.md states what docs/real_films/ holds, and that follows from the scores there."""

import gzip
import io
import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from mtl_jax.types import RoiSet

HERE = Path(__file__).resolve().parents[1]
FOLDER = HERE / "docs" / "real_films"
STUDIES = sorted(path.stem for path in FOLDER.glob("*.json"))
TOOL = runpy.run_path(str(HERE / "tools" / "real_films_results.py"))


def read_study(name: str) -> tuple[dict[str, Any], pd.DataFrame]:
    results = json.loads((FOLDER / f"{name}.json").read_text())
    with gzip.open(FOLDER / f"{name}.csv.gz") as file:
        return results, pd.read_csv(io.BytesIO(file.read()), dtype={"lesion_id": str})


def pair_auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Return the fraction of pairs in order: the AUC by Mann and Whitney's statistic."""
    malignant, benign = score[truth == 1], score[truth == 0]
    return mannwhitneyu(malignant, benign).statistic / (len(malignant) * len(benign))


def mean_auc(scores: pd.DataFrame, unit: str) -> float:
    """Return the mean over runs of the AUC, by view or by the mean of a lesion's views."""
    aucs = []
    for _, run in scores.groupby("run"):
        if unit == "lesion":
            run = run.groupby(["case_id", "lesion_id"])[["truth", "score"]].mean()
        aucs.append(pair_auc(run.truth.to_numpy(), run.score.to_numpy()))
    return float(np.mean(aucs))


@pytest.mark.parametrize("name", STUDIES)
def test_aucs_follow_from_the_scores(name: str) -> None:
    results, scores = read_study(name)
    scores = scores[(scores.task == results["target"]) & (scores.stage == scores.stage.iloc[-1])]
    rows = [
        row
        for row in results["auc"]
        if row["method"] == "empirical" and row["estimator"].startswith(("mean", "test"))
    ]
    assert rows
    for row in rows:
        chosen = scores[scores.approach == row["study"]]
        for field in ("network", "split", "target_cases"):
            if row.get(field) is not None:
                chosen = chosen[chosen[field] == row[field]]
        assert row["auc"] == pytest.approx(mean_auc(chosen, row["unit"]), abs=1e-9)


@pytest.mark.parametrize("name", STUDIES)
def test_differences_follow_from_the_aucs(name: str) -> None:
    results, _ = read_study(name)
    auc = {
        (row["study"], row["unit"]): row["auc"]
        for row in results["auc"]
        if row["method"] == "empirical" and row["estimator"].startswith(("mean", "test"))
    }
    for row in results["comparisons"]:
        if row["method"] == "obuchowski" and "network_a" not in row:
            pair = (auc.get((row[side], row["unit"])) for side in ("a", "b"))
            first, second = pair
            if first is not None and second is not None:
                assert row["delta"] == pytest.approx(first - second, abs=1e-9)


def test_the_page_states_the_aucs_of_the_studies() -> None:
    """Each row of a table that names a study by its file has an AUC of that file."""
    page = (HERE / "docs" / "real_films.md").read_text()
    stated = re.findall(r"^\| .*`(\w[\w.]*)\.json`.*$", page, flags=re.M)
    assert set(stated) == set(STUDIES)


def test_subgroups_are_the_mean_over_folds_of_their_views() -> None:
    rng = np.random.default_rng(0)
    n = 80
    truth = rng.integers(0, 2, n)
    predictions = pd.DataFrame(
        {
            "roi_id": [f"r{i}" for i in range(n)],
            "case_id": [f"c{i // 2}" for i in range(n)],
            "approach": "sttl",
            "network": "C1",
            "initialization": 0,
            "fold": 1 + np.arange(n) // 40,
            "view": np.where(np.arange(n) % 2, "CC", "MLO"),
            "truth": truth,
            "score": truth + rng.normal(0, 1, n),
        }
    )
    index = {
        "roi_id": predictions.roi_id.to_numpy(object),
        "view": predictions.view.to_numpy(object),
        "device": np.where(np.arange(n) < 60, "a", "b").astype(object),
        "height_mm": np.full(n, 5.0),
        "width_mm": np.where(np.arange(n) % 3, 15.0, 4.0),
    }
    found = list(TOOL["subgroups"](predictions, RoiSet("t", index, (), {})))
    rows = {(row["variable"], row["value"]): row for row in found}
    assert {key[1] for key in rows} == {"CC", "MLO", "a", "b", "up to 10 mm", "10 to 20 mm"}
    for key, chosen in {
        ("view", "CC"): predictions.view == "CC",
        ("digitizer", "b"): np.arange(n) >= 60,
        ("lesion size", "up to 10 mm"): np.arange(n) % 3 == 0,
    }.items():
        folds = [f for _, f in predictions[chosen].groupby("fold")]
        aucs = [pair_auc(fold.truth.to_numpy(), fold.score.to_numpy()) for fold in folds]
        assert rows[key]["auc"] == pytest.approx(np.mean(aucs))
        assert rows[key]["n_malignant"] + rows[key]["n_benign"] == np.sum(chosen)
