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
PAGE = runpy.run_path(str(HERE / "tools" / "real_films_page.py"))
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


def test_the_page_states_the_results_of_the_folder() -> None:
    page = (HERE / "docs" / "real_films.md").read_text()
    assert PAGE["fill"](page, FOLDER) == page
    stated = re.findall(r"^<!-- aucs: (.*) -->$", page, flags=re.M)
    assert set(STUDIES) <= set(" ".join(stated).split())


def test_a_table_is_filled_from_the_results(tmp_path: Path) -> None:
    """A value, its interval, signs and counts by hand; other text and unfinished studies stay."""
    common = {"method": "obuchowski", "estimator": "mean over folds", "unit": "view"}
    row = common | {"a": "mttl", "b": "sttl", "delta": -0.0124, "p_value": 0.0004}
    results = {"comparisons": [row | {"ci_low": -0.05, "ci_high": 0.0251}]}
    (tmp_path / "primary.json").write_text(json.dumps(results))
    page = "before\n\n<!-- differences: primary other -->\n| old |\n| row |\n\nafter\n"
    filled = PAGE["fill"](page, tmp_path)
    assert filled.startswith("before\n\n<!-- differences: primary other -->\n| study |")
    assert filled.endswith(
        "|\n| `primary` | mttl − sttl | view | −0.012 (−0.050 to +0.025) | < 0.001 |\n\nafter\n"
    )
    assert PAGE["fill"](filled, tmp_path) == filled


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
    sizes = {"up to 10 mm", "10 to 20 mm", "inside 40 mm"}
    assert {key[1] for key in rows} == {"CC", "MLO", "a", "b"} | sizes
    for key, chosen in {
        ("view", "CC"): predictions.view == "CC",
        ("digitizer", "b"): np.arange(n) >= 60,
        ("lesion size", "up to 10 mm"): np.arange(n) % 3 == 0,
    }.items():
        folds = [f for _, f in predictions[chosen].groupby("fold")]
        aucs = [pair_auc(fold.truth.to_numpy(), fold.score.to_numpy()) for fold in folds]
        assert rows[key]["auc"] == pytest.approx(np.mean(aucs))
        assert rows[key]["n_malignant"] + rows[key]["n_benign"] == np.sum(chosen)
