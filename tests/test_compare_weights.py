"""The AUCs and differences of a transfer study are those of the scores on disk."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from mtl_jax import config
from mtl_jax.experiments.compare_weights import format_tables, run_transfer
from mtl_jax.types import InputError


def settings(cache: Path) -> config.ConfigDict:
    c = config.default()
    c.study, c.approaches, c.network = "transfer", ("sttl",), "C1-C5"
    c.data.sources, c.data.cache, c.data.phantom.cases = ("phantom:sfm",), str(cache), 16
    c.transfer.weights, c.transfer.initializations = ("random", "analytic"), 2
    c.train.epochs, c.train.batch_size = 2, 32
    config.validate(c)
    return c


def lesion_auc(path: Path) -> float:
    """Return the lesion-level AUC by ranks; a lesion's score is the mean over its views."""
    lesions: dict[tuple[str, str], list[tuple[int, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = row["case_id"], row["lesion_id"]
            lesions.setdefault(key, []).append((int(row["label"]), float(row["score"])))
    label = np.array([views[0][0] for views in lesions.values()])
    ranks = rankdata([np.mean([s for _, s in views]) for views in lesions.values()])
    m, n = label.sum(), (1 - label).sum()
    return float((ranks[label == 1].sum() - m * (m + 1) / 2) / (m * n))


def test_mean_aucs_and_differences_match_the_scores(tmp_path: Path) -> None:
    c, folder = settings(tmp_path / "cache"), tmp_path / "w"
    results = run_transfer(c, folder)
    means = {}
    for row in results["auc"]:
        run_folders = sorted((folder / "weights" / row["weights"] / "runs").iterdir())
        aucs = [lesion_auc(path / "scores.csv") for path in run_folders]
        assert len(aucs) == 2 and row["sd_initializations"] == pytest.approx(np.std(aucs, ddof=1))
        means[row["weights"]] = np.mean(aucs)
        assert row["auc"] == pytest.approx(means[row["weights"]])
        assert 0 <= row["ci_low"] <= row["auc"] <= row["ci_high"] <= 1
    (difference,) = results["comparisons"]
    assert (difference["a"], difference["b"]) == ("analytic", "random")
    assert difference["delta"] == pytest.approx(means["analytic"] - means["random"])
    text = format_tables(results)
    assert f"| random | {means['random']:.3f} |" in text and "analytic - random" in text
    before = modification_times(folder)
    assert run_transfer(c, folder) == results
    assert modification_times(folder) == before  # no run is repeated


def modification_times(folder: Path) -> Sequence[int]:
    return [path.stat().st_mtime_ns for path in sorted(folder.rglob("scores.csv"))]


def test_invalid_settings_are_rejected(tmp_path: Path) -> None:
    for field, value in (("study", "paper"), ("initializations", 0), ("weights", ("a/x", "b/x"))):
        c = settings(tmp_path)
        c.transfer[field] = value
        with pytest.raises(InputError, match=f"transfer.{field}"):
            config.validate(c)


def test_a_single_comparison_has_no_adjusted_p_value() -> None:
    auc = {"auc": 0.8, "ci_low": 0.7, "ci_high": 0.9, "n_malignant": 9, "n_benign": 9}
    auc |= {"weights": "a", "backbone": "alexnet", "sd_initializations": 0.01, "aucs": [[0.8]] * 3}
    auc |= {"estimator": "mean over initializations", "se_method": "patients"}
    test = {"a": "b", "b": "a", "delta": 0.1, "ci_low": 0.0, "ci_high": 0.2, "p_value": 0.04}
    results = {"target": "t", "network": "C1", "auc": [auc], "provenance": {"mixed": False}}
    text = format_tables(results | {"comparisons": [test | {"p_holm": None}]})
    assert "| 0.040 |  |" in text and "not tested" not in text
    text = format_tables(results | {"comparisons": [test | {"p_value": None, "p_holm": None}]})
    assert "not tested (two initializations)" in text
