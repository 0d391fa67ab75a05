"""AUCs of trivial predictors: by-hand cases, and no case is scored by its own label."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mtl_jax.experiments.shortcuts import ALL, evaluate_shortcuts, malignant_fractions
from mtl_jax.experiments.splits import Split, run_rows
from mtl_jax.types import RoiSet, Run

COUNTS = (-1, 1)  # of the ROIs: alternating, so that scale is the SD


def make_rois(
    label: Sequence[int], views: int = 1, name: str = "t", **columns: Sequence[object]
) -> RoiSet:
    """Return one lesion per case, with the same number of views each.

    `columns` has a value for each ROI: `mean` and `sd` of its counts, or a column of the index.
    """
    n = len(label) * views
    values = {
        "mean": [7] * n,
        "sd": [3] * n,
        "height_mm": [0.0] * n,
        "width_mm": [0.0] * n,
        "outside": [0.0] * n,
        "pixel_um_row": [50.0] * n,
        "pixel_um_col": [50.0] * n,
    } | columns
    cases = [f"c{number // views:02d}" for number in range(n)]
    index = {
        "roi_id": [f"{name}/{case}/{number}" for number, case in enumerate(cases)],
        "case_id": cases,
        "lesion_id": ["1"] * n,
        "view": [("CC", "MLO")[number % views] for number in range(n)],
        "split": [""] * n,
    }
    arrays = {column: np.array(texts, object) for column, texts in index.items()}
    arrays["label"] = np.repeat(label, views)
    pattern = np.resize(COUNTS, (128, 128))
    mean, sd = (np.array(values.pop(name))[:, None, None] for name in ("mean", "sd"))
    for column, entries in values.items():
        arrays[column] = np.array(entries, object if column == "device" else float)
    shards = (mean + sd * pattern).astype(np.int16)
    return RoiSet(name, arrays, (shards[:3], shards[3:]), {})


def on_test_set(rois: RoiSet, test: Sequence[str]) -> dict[tuple[str, str], dict]:
    """Return the rows by predictor and unit of a run that scores the cases `test`."""
    train = sorted(set(rois.index["case_id"]) - set(test))
    split = Split("t", train, sorted(test), [], "for a test")
    return by_predictor([Run("sttl", ("t",), "C1", None, 0)], rois, split)


def by_predictor(runs: Sequence[Run], rois: RoiSet, split: Split) -> dict[tuple[str, str], dict]:
    rows = evaluate_shortcuts(runs, {"t": rois}, split)
    assert {row["collection"] for row in rows} <= {"t"}
    return {(row["predictor"], row["unit"]): row for row in rows}


def all_cases(rois: RoiSet) -> list[str]:
    return sorted(set(rois.index["case_id"]))


def test_aucs_match_counted_pairs() -> None:
    """Two malignant and two benign lesions of two views."""
    rois = make_rois(
        [1, 1, 0, 0],
        views=2,
        mean=[9, 5, 4, 2, 3, 5, 1, 1],
        sd=[1, 1, 2, 2, 8, 9, 1, 3],
    )
    rows = on_test_set(rois, all_cases(rois))
    # Views: malignant 9 5 4 2, benign 3 5 1 1: 9 exceeds four benign views, 5 three and equals
    # one, 4 exceeds three, 2 two.
    assert rows["mean gray", "view"]["auc"] == pytest.approx((4 + 3.5 + 3 + 2) / 16)
    # Lesions: malignant 7 3, benign 4 1.
    assert rows["mean gray", "lesion"]["auc"] == pytest.approx(3 / 4)
    # SD by lesion: malignant 1 2, benign 8.5 2: lower in malignant lesions, and shown so.
    assert rows["SD of gray", "lesion"]["auc"] == pytest.approx(0.5 / 4)
    assert (rows["mean gray", "view"]["n_malignant"], rows["mean gray", "view"]["n_benign"]) == (
        *(4, 4),
    )
    row = rows["mean gray", "lesion"]
    assert (row["n_malignant"], row["n_benign"]) == (2, 2)
    assert 0 <= row["ci_low"] < row["auc"] < row["ci_high"] <= 1
    assert set(row) == {
        *("collection", "predictor", "unit", "auc", "se", "ci_low", "ci_high"),
        *("n_malignant", "n_benign"),
    }


def test_the_auc_is_the_mann_whitney_statistic_and_ignores_training_cases() -> None:
    rng = np.random.default_rng(0)
    label, mean = rng.integers(0, 2, 60), rng.integers(0, 40, 60)
    rois = make_rois(label, mean=mean)
    test = all_cases(rois)[20:]
    u = stats.mannwhitneyu(mean[20:][label[20:] == 1], mean[20:][label[20:] == 0]).statistic
    pairs = (label[20:] == 1).sum() * (label[20:] == 0).sum()
    assert on_test_set(rois, test)["mean gray", "view"]["auc"] == pytest.approx(u / pairs)


def test_intervals_are_clustered_by_patient() -> None:
    """Copies of a view add no information: the standard error is that of the lesions."""
    rng = np.random.default_rng(1)
    label, mean = rng.integers(0, 2, 40), rng.integers(0, 1000, 40)
    rois = make_rois(label, views=2, mean=np.repeat(mean, 2))
    rows = on_test_set(rois, all_cases(rois))
    view, lesion = (rows["mean gray", unit] for unit in ("view", "lesion"))
    assert view["n_malignant"] == 2 * lesion["n_malignant"]
    assert view["auc"] == pytest.approx(lesion["auc"])
    assert view["se"] == pytest.approx(lesion["se"])


def test_constant_and_unknown_predictors_are_left_out() -> None:
    """No ROI has an extent, the pixel size is equal, and there is one device, though its malignant
    fraction differs between folds."""
    rois = make_rois([1, 0, 1, 0, 0, 1, 0, 0], mean=[4, 3, 2, 1, 8, 7, 6, 5], device=["A"] * 8)
    cases = all_cases(rois)
    split = Split("t", cases, [], [[cases[:4], cases[4:]]], "for a test")
    runs = [Run("sttl", ("t",), "C1", fold, 0) for fold in (0, 1)]
    train, evaluation = run_rows(runs[0], {"t": rois}, split)
    assert set(malignant_fractions(rois, train["t"], evaluation["t"])) == {0.25}
    assert set(malignant_fractions(rois, evaluation["t"], train["t"])) == {0.5}
    assert set(by_predictor(runs, rois, split)) == {("mean gray", "view"), ("mean gray", "lesion")}


def test_lesions_without_an_extent_have_no_size() -> None:
    """Sizes: malignant 12 and 9, benign 10; a location without an extent is no lesion of 0 mm."""
    rois = make_rois([1, 1, 0, 0], height_mm=[12, 3, 10, 0], width_mm=[4, 9, 2, 0])
    row = on_test_set(rois, all_cases(rois))["lesion size", "view"]
    assert (row["n_malignant"], row["n_benign"], row["auc"]) == (2, 1, 0.5)


def test_pixel_sizes_that_vary_are_a_predictor() -> None:
    rois = make_rois([1, 1, 0, 0], pixel_um_row=[50, 43.5, 42, 42], pixel_um_col=[50, 43.5, 42, 42])
    assert on_test_set(rois, all_cases(rois))["pixel size", "view"]["auc"] == 1


def device_rois(label: Sequence[int]) -> tuple[RoiSet, Split, list[Run]]:
    """Return eight cases of devices A, A, B, B in each of two folds."""
    rois = make_rois(label, device=list("AABBAABB"))
    cases = all_cases(rois)
    split = Split("t", cases, [], [[cases[:4], cases[4:]]], "for a test")
    return rois, split, [Run("sttl", ("t",), "C1", fold, 0) for fold in (0, 1)]


def test_the_device_is_scored_by_the_other_folds() -> None:
    """In fold 1, A has one and B no malignant case of two; in fold 2, A has two and B one."""
    rois, split, runs = device_rois([1, 0, 0, 0, 1, 1, 1, 0])
    scores = []
    for run in runs:
        train, evaluation = (rows["t"] for rows in run_rows(run, {"t": rois}, split))
        scores.append(malignant_fractions(rois, train, evaluation).tolist())
    assert scores == [[1, 1, 0.5, 0.5], [0.5, 0.5, 0, 0]]
    # Fold 1: malignant A, benign A, B, B: 0.5 + 1 + 1 of 3. Fold 2: A, A, B and B: 2.5 of 3.
    assert by_predictor(runs, rois, split)["device", "view"]["auc"] == pytest.approx(2.5 / 3)


def test_labels_of_a_fold_do_not_change_its_device_scores() -> None:
    """Were a case scored by its own label, another label would change its score."""
    label = [1, 0, 0, 0, 1, 1, 1, 0]
    changed = [0, 1, 1, 1, *label[4:]]
    scores = []
    for labels in (label, changed):
        rois, split, runs = device_rois(labels)
        train, evaluation = (rows["t"] for rows in run_rows(runs[0], {"t": rois}, split))
        scores.append(malignant_fractions(rois, train, evaluation).tolist())
    assert scores[0] == scores[1]


def test_a_random_device_has_no_auc_above_chance() -> None:
    """With one device for each pair of cases, its own label would give an AUC far above 0.5."""
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, 400)
    rois = make_rois(label, device=[f"d{n}" for n in rng.integers(0, 200, 400)])
    cases = all_cases(rois)
    parts = [cases[part::4] for part in range(4)]
    split = Split("t", cases, [], [parts], "for a test")
    runs = [Run("sttl", ("t",), "C1", fold, 0) for fold in range(4)]
    row = by_predictor(runs, rois, split)["device", "view"]
    assert row["ci_low"] < 0.5 < row["ci_high"]


def test_the_device_of_a_test_set_is_scored_by_all_training_cases() -> None:
    """A device that no training case has gets the fraction of all of them."""
    rois = make_rois([1, 1, 0, 0, 1, 0, 0], device=list("AAABABC"))
    cases = all_cases(rois)
    split = Split("t", cases[:4], cases[4:], [], "for a test")
    run = Run("sttl", ("t",), "C1", None, 0)
    train, evaluation = (rows["t"] for rows in run_rows(run, {"t": rois}, split))
    assert malignant_fractions(rois, train, evaluation).tolist() == [2 / 3, 0, 0.5]
    # A subset of the training cases of a learning curve does not change it.
    subset = Run("sttl", ("t",), "C1", None, 0, target_cases=2)
    rows: list[Mapping[str, object]] = evaluate_shortcuts([subset], {"t": rois}, split)
    assert rows == evaluate_shortcuts([run], {"t": rois}, split)
    assert [row["auc"] for row in rows] == [1, 1]


def test_every_collection_with_a_test_set_is_evaluated_once() -> None:
    label, mean = [1, 0, 1, 0, 1, 0], [6, 5, 4, 3, 2, 1]
    collections = {name: make_rois(label, name=name, mean=mean) for name in ("t", "x", "y")}
    cases = all_cases(collections["t"])
    split = Split("t", cases[:2], cases[2:], [], "for a test", {"x": cases[:4]})
    runs = [
        Run("mttl", ("t", "x", "y"), "C1", None, 0),
        Run("mttl", ("t", "x", "y"), "C1", None, 0, initialization=1),
        Run("sttl", ("t",), "C1", None, 0),
        Run("sttl+of=x", ("x",), "C1", None, 0),
    ]
    rows = evaluate_shortcuts(runs, collections, split)
    assert [(row["collection"], row["unit"]) for row in rows] == [
        *(("t", "view"), ("t", "lesion"), ("x", "view"), ("x", "lesion")),
    ]
    assert [row["n_malignant"] for row in rows] == [2] * 4
    assert rows == evaluate_shortcuts(runs[::2], collections, split)


def test_the_forest_combines_predictors_and_never_uses_its_own_cases() -> None:
    """Malignant if exactly one of gray and SD is high, which neither predicts alone."""
    rng = np.random.default_rng(0)
    high = rng.integers(0, 2, (2, 60))
    label = high[0] ^ high[1]
    rois = make_rois(label.tolist(), mean=(5 + 9 * high[0]).tolist(), sd=(3 + 9 * high[1]).tolist())
    cases = all_cases(rois)
    rows = on_test_set(rois, cases[30:])
    assert rows[ALL, "view"]["auc"] > 0.95
    assert abs(rows["mean gray", "view"]["auc"] - 0.5) < 0.25
    # The labels of the evaluation cases change its AUC, and none of its scores.
    split = Split("t", cases[:30], cases[30:], [], "for a test")
    other = replace(rois, index={**rois.index, "label": np.r_[label[:30], 1 - label[30:]]})
    run = [Run("sttl", ("t",), "C1", None, 0)]
    aucs = [by_predictor(run, r, split)[ALL, "view"]["auc"] for r in (rois, other)]
    assert aucs[0] == pytest.approx(1 - aucs[1])
