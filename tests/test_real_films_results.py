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

from mtl_jax.types import InputError, RoiSet

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


def scores_of(
    scores: pd.DataFrame, study: str, network: str | None, split: int | None, size: int | None
) -> pd.DataFrame:
    """Return the scores of a condition; None for a field that does not select."""
    mask = scores.approach == study
    for name, value in (("network", network), ("split", split), ("target_cases", size)):
        if value is not None:
            mask &= scores[name] == value
    return scores[mask]


def is_empirical(row: dict[str, Any]) -> bool:
    return row["method"] in ("empirical", "obuchowski")


@pytest.mark.parametrize("name", STUDIES)
def test_aucs_follow_from_the_scores(name: str) -> None:
    results, scores = read_study(name)
    scores = scores[(scores.task == results["target"]) & (scores.stage == results["stage"])]
    rows = list(filter(is_empirical, results["auc"]))
    conditions = scores[["approach", "network", "split", "target_cases"]].drop_duplicates()
    assert len(rows) == 2 * len(conditions)
    for row in rows:
        fields = (row[field] for field in ("study", "network", "split", "target_cases"))
        rois = scores_of(scores, *fields)
        assert row["auc"] == pytest.approx(mean_auc(rois, row["unit"]), abs=1e-9)
        units = ["case_id", "lesion_id"] + ["roi_id"] * (row["unit"] == "view")
        truth = rois.drop_duplicates(units).truth
        assert (row["n_malignant"], row["n_benign"]) == (truth.sum(), (1 - truth).sum())
        assert row["n_cases"] == rois.case_id.nunique()
        assert len(row["initializations"]) == rois.initialization.nunique()
        assert row["ci_low"] < row["auc"] < row["ci_high"]
        shares = rois.groupby(["run", "truth"]).score.agg(
            lambda scores: scores.value_counts(normalize=True).max()
        )
        most_frequent = shares.groupby("run").min()
        assert row["runs_with_equal_scores"] == (most_frequent > 0.5).sum()
        assert row["runs"] == len(most_frequent)


@pytest.mark.parametrize("name", STUDIES)
def test_differences_follow_from_the_scores(name: str) -> None:
    results, scores = read_study(name)
    scores = scores[(scores.task == results["target"]) & (scores.stage == results["stage"])]
    rows = list(filter(is_empirical, results["comparisons"]))
    several = len({(row["study"], row["network"]) for row in results["auc"]}) > 1
    assert bool(rows) == (several and results["stage"] != "splits")  # which chooses, and tests none
    for row in rows:
        first, second = (
            mean_auc(
                scores_of(scores, row[k], row.get(f"network_{k}"), None, row.get("target_cases")),
                row["unit"],
            )
            for k in ("a", "b")
        )
        assert row["delta"] == pytest.approx(first - second, abs=1e-9)


@pytest.mark.parametrize("networks", [False, True])
def test_an_auc_of_networks_that_did_not_learn_has_no_interval(
    networks: bool, tmp_path: Path
) -> None:
    """Nor are differences from it shown; with other networks of the approach they are."""
    auc = {"network": "C1", "split": 1, "target_cases": None, "method": "empirical", "runs": 4}
    auc |= {"initializations": [0], "ci_low": 0.49, "ci_high": 0.53, "training_auc": None}
    auc |= {"n_malignant": 5, "n_benign": 7, "unit": "view", "auc": 0.51}
    row = {"unit": "view", "method": "obuchowski", "delta": 0.1, "ci_low": 0, "ci_high": 0.2}
    row |= {"p_value": 0.5, "p_holm": None, "a": "sttl", "network_a": "C1"}
    comparisons = [row | {"b": "mttl", "network_b": network} for network in ("C1", "C2")]
    if not networks:
        comparisons = [{k: v for k, v in r.items() if "network" not in k} for r in comparisons]
    aucs = [auc | {"study": "sttl", "runs_with_equal_scores": 0}]
    aucs += [auc | {"study": "mttl", "runs_with_equal_scores": 3}]
    lda = [row | {"a": approach, "b": "lda"} for approach in ("sttl", "mttl")]
    subgroup = auc | {"variable": "view", "value": "CC", "n_folds": 4}
    subgroups = [subgroup | {"approach": approach} for approach in ("sttl", "mttl")]
    results = {"auc": aucs, "comparisons": comparisons, "subgroups": subgroups}
    results["conventional"] = {"auc": [], "comparisons": lda}
    (tmp_path / "s.json").write_text(json.dumps(results))
    text = "\n".join(f"<!-- {kind}: s -->" for kind in ("aucs", "differences"))
    text += "\n<!-- hand_crafted: s -->\n<!-- subgroups: s -->\n"
    text = PAGE["fill"](text, tmp_path)
    text = text.replace("\N{NO-BREAK SPACE}", "_")
    assert "| `s` | sttl | C1 | 1 | view | 5, 7 | 0.510_(0.490–0.530) |  |" in text
    assert "| view | 5, 7 | 0.510 (3 of 4 networks gave most views one score) |  |" in text
    assert ("| `s` | sttl C1 − mttl C2 | view |" in text) == networks
    assert "| `s` | sttl − lda |" in text and "mttl − lda" not in text
    assert "| view: CC | sttl |" in text and "| view: CC | mttl |" not in text
    assert text.count("−") == 1 + networks
    with pytest.raises(InputError, match="networks of `s` did not learn"):
        PAGE["fill"]("<!-- paired: s-s -->\n", tmp_path)


def test_the_page_states_the_results_of_the_folder() -> None:
    page = (HERE / "docs" / "real_films.md").read_text()
    assert PAGE["fill"](page, FOLDER) == page
    shown = re.findall(r"^<!-- aucs: (.*) -->$", page, flags=re.M)
    assert set(STUDIES) <= set(" ".join(shown).split())


def test_other_pages_state_the_same_view_level_aucs() -> None:
    weights, primary = read_study("weights")[0], read_study("primary")[0]
    aucs = {
        row["study"]: row
        for row in [*weights["auc"], *primary["conventional"]["auc"]]
        if is_empirical(row) and row["unit"] == "view"
    }
    rows = [aucs[study] for study in ("sttl", "sttl+weights=shipped", "lda")]
    imagenet, shipped, lda = ("{auc:.3f} ({ci_low:.3f} to {ci_high:.3f})".format(**r) for r in rows)
    transfer = " ".join((HERE / "docs" / "transfer.md").read_text().split()).replace("95% CI ", "")
    assert f"AUC of {imagenet}, the shipped weights {shipped} and hand-crafted" in transfer
    assert f"linear discriminant analysis {lda}." in transfer
    imagenet, shipped, lda = (f"{row['auc']:.2f}" for row in rows)
    for folder in (".", "checkpoints"):
        text = " ".join((HERE / folder / "README.md").read_text().split())
        stated = f"{shipped}, ImageNet weights {imagenet} and hand-crafted features {lda}"
        assert stated in text


def test_tables_are_filled_from_the_results(tmp_path: Path) -> None:
    """Values, intervals, signs and counts by hand; other text stays."""
    common = {"estimator": "mean over folds", "p_value": 0.0004, "p_holm": 0.0412, "primary": False}
    difference = common | {"a": "mttl", "b": "sttl", "method": "obuchowski", "unit": "view"}
    auc = {"study": "mttl", "network": "C1", "split": 2, "target_cases": None, "se": 0.01}
    auc |= {"method": "empirical", "estimator": "mean over folds", "training_auc": 0.9876}
    auc |= {"initializations": [0, 1], "ci_low": 0.7, "ci_high": 0.9}
    results = {
        "comparisons": [difference | {"delta": -0.0124, "ci_low": -0.05, "ci_high": 0.0251}],
        "auc": [
            auc | {"unit": "view", "auc": 0.81, "n_malignant": 5, "n_benign": 7},
            auc | {"unit": "lesion", "auc": 0.82, "n_malignant": 3, "n_benign": 4},
            auc | {"unit": "view", "auc": 0.5, "method": "proper"},
        ],
        "shortcuts": [],
    }
    (tmp_path / "primary.json").write_text(json.dumps(results))
    page = (
        "before\n\n<!-- differences: primary -->\n| old |\n| row |\n\nbetween\n\n"
        "<!-- aucs: primary -->\n\n<!-- shortcuts: primary -->\nafter\n"
    )
    filled = PAGE["fill"](page, tmp_path)
    text = filled.replace("\N{NO-BREAK SPACE}", "_")
    lines = [line for line in text.splitlines() if not line.startswith(("| study", "| ---"))]
    assert lines == [
        "before",
        "",
        "<!-- differences: primary -->",
        "| `primary` | mttl − sttl | view | −0.012_(−0.050_to_+0.025) | < 0.001 | 0.041 |",
        "",
        "between",
        "",
        "<!-- aucs: primary -->",
        "| `primary` | mttl | C1 | 2 | view | 5, 7 | 0.810_(0.700–0.900) | 0.988 |",
        "| `primary` | mttl | C1 | 2 | lesion | 3, 4 | 0.820_(0.700–0.900) | 0.988 |",
        "",
        "<!-- shortcuts: primary -->",
        "after",
    ]
    assert PAGE["fill"](filled, tmp_path) == filled


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("<!-- aucs: other -->", "other.json: no such file"),
        ("<!-- paired: first-second -->", "first.json: no such file"),
        ("<!-- paired: first -->", "expected FIRST-SECOND"),
        ("<!-- auc: primary -->", "expected one of the kinds aucs, differences"),
    ],
)
def test_an_invalid_comment_is_one_line(comment: str, message: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{comment}\n| old |\n")
    with pytest.raises(InputError, match=re.escape(message)):
        PAGE["main"]([str(page)])
    assert page.read_text() == f"{comment}\n| old |\n"


def make_predictions(seed: int, approaches: tuple[str, ...], initializations: int) -> pd.DataFrame:
    """Return scores of 80 views of 40 lesions in two folds."""
    rng, n = np.random.default_rng(seed), 80
    truth = np.random.default_rng(0).integers(0, 2, n // 2).repeat(2)
    return pd.concat(
        pd.DataFrame(
            {
                "stage": "cross_validation",
                "task": "t",
                "roi_id": [f"r{i}" for i in range(n)],
                "case_id": [f"c{i // 2}" for i in range(n)],
                "lesion_id": "L1",
                "approach": approach,
                "network": "C1",
                "split": 1,
                "target_cases": None,
                "initialization": initialization,
                "fold": 1 + np.arange(n) // 40,
                "run": f"{approach} {initialization} " + pd.Series(np.arange(n) // 40).astype(str),
                "view": np.where(np.arange(n) % 2, "CC", "MLO"),
                "truth": truth,
                "score": truth + rng.normal(0, 1, n),
            }
        )
        for approach in approaches
        for initialization in range(initializations)
    )


def test_paired_differences_are_those_of_the_mean_aucs() -> None:
    first, second = (make_predictions(seed, ("sttl",), 2) for seed in (1, 2))
    for unit in ("view", "lesion"):
        row = PAGE["paired_difference"](first, second.sample(frac=1, random_state=0), unit)
        assert row["delta"] == pytest.approx(mean_auc(first, unit) - mean_auc(second, unit))
        assert row["ci_low"] < row["delta"] < row["ci_high"]
    with pytest.raises(ValueError, match="other cases"):
        PAGE["paired_difference"](first, second[second.roi_id != "r5"], "view")
    with pytest.raises(ValueError, match="one approach"):
        PAGE["paired_difference"](first, make_predictions(2, ("sttl", "mttl"), 2), "view")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("patient_id,side,view\nP_1,LEFT,CC\n", "missing column abnormality")],
)
def test_another_table_of_masses_is_one_line(
    content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "masses.csv"
    if content:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        TOOL["read_volumes"](path)


def test_the_volume_of_a_mass_is_found_by_its_roi(tmp_path: Path) -> None:
    path = tmp_path / "masses.csv"
    path.write_text("patient_id,side,view,abnormality,ddsm_volume_class\nP_1,LEFT,CC,2,benigns\n")
    assert TOOL["read_volumes"](path) == {"ddsm299/P_1/L2/CC": "benigns"}


def test_subgroups_are_the_mean_over_folds_of_their_views() -> None:
    """Two approaches and three initializations; the second case has no folds, as a test set."""
    predictions = make_predictions(0, ("sttl", "mttl"), 3)
    n = np.arange(80)
    index = {
        "roi_id": predictions.roi_id[:80].to_numpy(object),
        "view": predictions.view[:80].to_numpy(object),
        "device": np.where(n < 30, "a", "b").astype(object),
        "height_mm": np.full(80, 5.0),
        "width_mm": np.where(n % 3, 15.0, 50.0),
    }
    truth = predictions.truth[:80].to_numpy()
    of_cancers = (truth == 1) | (n % 8 < 4)
    volumes = {f"r{i}": "cancers" if of_cancers[i] else "benigns" for i in n}
    for folds in (True, False):
        scores = predictions if folds else predictions.assign(fold=np.nan, split=np.nan)
        rows = {
            (condition["approach"], row["variable"], row["value"]): row
            for condition, rois in TOOL["group_conditions"](scores)
            for row in TOOL["subgroups"](condition, rois, RoiSet("t", index, (), {}), volumes, 40.0)
        }
        without = "without benign views of cancer volumes"
        values = {
            "CC",
            "MLO",
            "a",
            "b",
            "10 to 20 mm",
            "above 20 mm",
            "cancer only",
            without,
            "within the blanked disc",
        }
        assert {key[2] for key in rows} == values and len(rows) == 18
        for (variable, value), mask in {
            ("view", "CC"): n % 2 == 1,
            ("digitizer", "a"): n < 30,
            ("lesion size", "above 20 mm"): n % 3 == 0,
            ("DDSM volume", "cancer only"): of_cancers,
            ("box", "within the blanked disc"): n % 3 > 0,
            ("DDSM volume", without): (truth == 1) | ~of_cancers,
        }.items():
            for approach in ("sttl", "mttl"):
                rois = scores[np.tile(mask, 6) & (scores.approach == approach).to_numpy()]
                aucs = [
                    pair_auc(fold.truth.to_numpy(), fold.score.to_numpy())
                    for _, fold in rois.groupby(["fold", "initialization"], dropna=False)
                ]
                row = rows[approach, variable, value]
                assert row["auc"] == pytest.approx(np.mean(aucs))
                assert row["n_malignant"] + row["n_benign"] == np.sum(mask)
                assert row["n_folds"] == len(aucs) / 3
                assert row["split"] == (1 if folds else None)
