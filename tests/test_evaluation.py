"""Estimators, the primary analysis and families of secondary tests, against counting by hand, the
functions for one training, and simulation."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_study import made_up

from mtl_jax import config, roc
from mtl_jax.experiments import stage_tables
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc, mean_difference
from mtl_jax.experiments.evaluation import EvaluationRules, evaluate
from mtl_jax.experiments.primary_comparison import Primary, resolve_primary
from mtl_jax.experiments.run_lists import Approach, expand_approaches
from mtl_jax.experiments.scores import Scores, make_scores
from mtl_jax.roc.clustered import covariance
from mtl_jax.roc.influence import empirical_influence
from mtl_jax.types import InputError, RoiSet, Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import simulate_initializations

BOTH = ("mttl", "sttl")
RULES = EvaluationRules("view", Primary("lesion", "obuchowski", BOTH), 200, 0)


def approaches(*names: str, heads: str = "shared") -> list[Approach]:
    return expand_approaches(names, "t", ("t", "x"), heads, {})


def study(
    folds: int | None, starts: int, names: Sequence[str] = BOTH, cases: int = 60
) -> tuple[list[Run], dict[str, Scores], RoiSet]:
    """Scores of cases with two views, those of a case alike; of x as well on the test set."""
    rois = {name: made_up(name, cases, seed=1) for name in ("t", "x")}
    index = rois["t"].index
    parts = [None] if folds is None else range(folds)
    runs = [
        approach.run("C1", fold, 0, initialization=start)
        for approach in approaches(*names)
        for start in range(starts)
        for fold in parts
    ]
    found = {}
    for run in runs:
        rng = np.random.default_rng([names.index(run.approach), run.initialization])
        shared = np.repeat(np.random.default_rng(9).standard_normal(cases), 2)
        values = shared + index["label"] * (1 + 0.2 * rng.standard_normal())
        values += rng.standard_normal(2 * cases)
        case = np.arange(2 * cases) // 6 % (folds or 1)
        rows = np.flatnonzero(case == (run.fold or 0))
        made = [make_scores(rois["t"], rows, values[rows])]
        if folds is None and "x" in run.tasks:
            made.append(make_scores(rois["x"], rows, values[rows]))
        found[run.id] = Scores(*(np.concatenate(part) for part in zip(*made, strict=True)))
    return runs, found, rois["t"]


def one_auc(scores: Scores, unit: str) -> float:
    own = scores.of(scores.task == "t")
    if unit == "view":
        return roc.empirical(own.label, own.score).auc
    lesions = roc.view_to_lesion(own.label, own.score, own.case_id, own.lesion_id)
    return roc.empirical(lesions.labels, lesions.scores).auc


def first_of(rows: list[dict], **wanted: object) -> dict:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


# Estimators


@pytest.mark.parametrize("starts", [1, 3])
@pytest.mark.parametrize("unit", ["view", "lesion"])
def test_the_first_entry_is_the_mean_over_folds_and_initializations(unit: str, starts: int) -> None:
    runs, found, _ = study(3, starts)
    rows = evaluate("cross_validation", runs, found, "t", RULES)["auc"]
    for approach in BOTH:
        own = [run for run in runs if run.approach == approach]
        row = first_of(rows, study=approach, unit=unit, method="empirical")
        assert row["auc"] == pytest.approx(np.mean([one_auc(found[run.id], unit) for run in own]))
        name = "mean over folds" + (" and initializations" if starts > 1 else "")
        assert (row["estimator"], row["headline"]) == (name, True)
        assert row["primary"] == (unit == "lesion") and not row["selected"]
        assert row["initializations"] == list(range(starts))
    assert sum(row["primary"] for row in rows) == 2


def test_pooled_scores_count_each_case_once() -> None:
    runs, found, rois = study(3, 3, ("sttl",))
    rows = evaluate("cross_validation", runs, found, "t", RULES)["auc"]
    pooled = first_of(rows, unit="view", method="empirical", estimator="pooled over folds")
    each = []
    for start in range(3):
        joined = [found[run.id] for run in runs if run.initialization == start]
        label, score = (np.concatenate([getattr(t, k) for t in joined]) for k in ("label", "score"))
        each.append((score[label == 1][:, None] > score[label == 0]).mean())
    assert pooled["auc"] == pytest.approx(np.mean(each)) and pooled["cases"] == "pooled"
    assert pooled["n_malignant"] + pooled["n_benign"] == len(rois) == 120
    assert pooled["n_cases"] == 60 and not pooled["headline"] and not pooled["primary"]
    folds = [r for r in rows if (r["unit"], r["method"]) == ("view", "empirical")]
    assert [r["estimator"] for r in folds][-3:] == ["one fold"] * 3
    assert [r["cases"] for r in folds][-3:] == ["fold 1", "fold 2", "fold 3"]


def test_the_target_comes_first_whatever_else_is_tested() -> None:
    runs, found, _ = study(None, 1)
    out = evaluate("test", runs, found, "t", RULES)
    assert {row["task"] for row in out["auc"]} == {"t", "x"}
    for approach, unit, method in itertools.product(
        BOTH, stage_tables.UNITS, ("empirical", "proper")
    ):
        row = first_of(out["auc"], study=approach, unit=unit, method=method)
        assert (row["task"], row["cases"], row["estimator"]) == ("t", "test", "test set")
    assert not any(row["headline"] or row["primary"] for row in out["auc"] if row["task"] == "x")


@pytest.mark.parametrize("method", ["obuchowski", "proper", "bootstrap"])
@pytest.mark.parametrize("unit", ["view", "lesion"])
def test_one_training_is_compared_as_two_readings_are(unit: str, method: str) -> None:
    runs, found, _ = study(None, 1)
    row = first_of(evaluate("test", runs, found, "t", RULES)["comparisons"], unit=unit,
                   method=method)  # fmt: skip
    (label, a, patient), (_, b, _) = (
        stage_tables.aggregate(found[run.id].of(found[run.id].task == "t"), unit) for run in runs
    )
    test = roc.compare(label, a, b, method, patient, samples=200)
    for key in ("auc_a", "auc_b", "delta", "se", "p_value", "ci_low", "ci_high"):
        assert row[key] == pytest.approx(getattr(test, key), rel=1e-6, abs=1e-9), key
    assert (row["status"], row["df"], row["design"]) == (test.status, None, None)
    assert row["var_initializations"] is None


def test_reversed_scores_are_no_headline() -> None:
    """Malignant scores spread more and lie lower: the empirical AUC is below 0.5, the proper fit's
    above."""
    rng = np.random.default_rng(4)
    cases = 150
    rois = made_up("t", cases, views=1)
    label = rois.index["label"]
    values = np.where(label == 1, 2.2 * rng.standard_normal(cases) - 0.15,
                      rng.standard_normal(cases))  # fmt: skip
    run = Run("sttl", ("t",), "C1", None, 0)
    found = {run.id: make_scores(rois, np.arange(cases), values)}
    rows = evaluate("test", [run], found, "t", RULES)["auc"]
    empirical, proper = (first_of(rows, method=m, unit="view") for m in ("empirical", "proper"))
    assert empirical["auc"] < 0.5 < 0.55 < proper["auc"]
    assert empirical["headline"] and not proper["headline"]


def test_a_mean_of_fits_of_which_one_failed_is_no_headline() -> None:
    runs, found, _ = study(2, 1, ("sttl",), cases=240)
    table = found[runs[0].id]
    found[runs[0].id] = table._replace(score=table.label.astype(np.float32))
    rows = evaluate("cross_validation", runs, found, "t", RULES)["auc"]
    row = first_of(rows, method="proper", unit="lesion")
    assert (row["status"], row["n_fits"], row["n_fits_failed"]) == ("perfect", 2, 1)
    assert not row["headline"]


# Several initializations


def parts(seed: int, starts: int, folds: int = 2, patients: int = 24) -> list[FoldScores]:
    rng = np.random.default_rng(seed)
    made = []
    for fold in range(folds):
        label = np.repeat((np.arange(patients) % 3 == 0).astype(int), 2)
        patient = np.repeat([f"{fold}-{i}" for i in range(patients)], 2)
        shared = label + np.repeat(rng.standard_normal(patients), 2)
        start = label * rng.standard_normal((starts, 1))
        made.append(
            FoldScores(label, patient, shared + start + rng.standard_normal((starts, len(label))))
        )
    return made


def by_pairs(a: list[FoldScores], b: list[FoldScores] | None = None) -> float:
    """Mean over pairs of initializations of the covariance of their mean AUCs, one pair after the
    other; different initializations alone where `b` is not given."""
    starts = len(a[0].scores)
    pairs = [(r, s) for r in range(starts) for s in range(len((b or a)[0].scores)) if b or r != s]
    total = 0.0
    for one, other in zip(a, b or a, strict=True):
        codes = np.unique(one.patient, return_inverse=True)[1]
        for r, s in pairs:
            pair = [empirical_influence(one.label == 1, x)[1]
                    for x in (one.scores[r], other.scores[s])]  # fmt: skip
            total += covariance(one.label == 1, tuple(pair), codes)[0, 1]
    return total / len(pairs) / len(a) ** 2


def test_the_variance_of_a_mean_by_pairs_of_initializations() -> None:
    own = parts(0, 4)
    row = mean_auc(own)
    means = np.mean(row["aucs"], axis=1)
    assert row["var_patients"] == pytest.approx(by_pairs(own))
    assert row["var_initializations"] == pytest.approx(np.var(means, ddof=1) / 4)
    assert row["se"] ** 2 == pytest.approx(row["var_patients"] + row["var_initializations"])
    assert row["df"] == pytest.approx(3 * row["se"] ** 2 / row["var_initializations"])
    half = stats.t.ppf(0.975, row["df"]) * row["se"] / (row["auc"] * (1 - row["auc"]))
    middle = np.log(row["auc"] / (1 - row["auc"]))
    expected = 1 / (1 + np.exp(-np.array([middle - half, middle + half])))
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], expected)
    assert "initializations" in row["se_method"]


@pytest.mark.parametrize("starts", [1, 2])
def test_with_fewer_than_three_initializations_patients_alone_vary(starts: int) -> None:
    row = mean_auc(parts(1, starts))
    assert row["var_initializations"] is None and row["df"] is None
    assert row["se_method"] == "patients (Obuchowski 1997)"
    test = mean_difference(parts(1, starts), parts(2, starts))
    assert (test["p_value"] is None) == (starts == 2)


def test_a_crossed_difference_is_the_mean_of_differences() -> None:
    a, b = parts(3, 5), [p._replace(scores=p.scores[:, ::-1]) for p in parts(3, 5)]
    row = mean_difference(a, b)
    deltas = np.mean(mean_auc(a)["aucs"], 1) - np.mean(mean_auc(b)["aucs"], 1)
    between = np.var(deltas, ddof=1) / 5
    assert row["delta"] == pytest.approx(deltas.mean())
    assert row["var_initializations"] == pytest.approx(between)
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(row["delta"]) / row["se"], row["df"]))
    assert row["design"] == "crossed"
    # 5 x 4 pairs of differences: those of a, of b, and across, where r and s differ.
    across = 5 / 4 * by_pairs(a, b) - sum(
        by_pairs([p._replace(scores=p.scores[[r]]) for p in a],
                 [p._replace(scores=p.scores[[r]]) for p in b]) for r in range(5)) / 20  # fmt: skip
    patients = by_pairs(a) + by_pairs(b) - 2 * across
    assert row["var_patients"] == pytest.approx(max(patients, 0))


def test_a_nested_difference_has_two_variances_between_initializations() -> None:
    a, b = parts(4, 5), parts(4, 3)
    row = mean_difference(a, b, crossed=False)
    between = [np.var(np.mean(mean_auc(p)["aucs"], 1), ddof=1) / len(p[0].scores) for p in (a, b)]
    assert row["var_initializations"] == pytest.approx(sum(between))
    patients = by_pairs(a) + by_pairs(b) - 2 * by_pairs(a, b)
    assert row["var_patients"] == pytest.approx(max(patients, 0))
    assert row["design"] == "nested"
    share = sum(between) / row["se"] ** 2
    own = sum(between) ** 2 / (between[0] ** 2 / 4 + between[1] ** 2 / 2)
    assert row["df"] == pytest.approx(own / share)


def test_initializations_that_agree_leave_the_patients() -> None:
    own = [p._replace(scores=np.repeat(p.scores, 3, axis=0)) for p in parts(5, 1)]
    row, one = mean_auc(own), mean_auc(parts(5, 1))
    assert row["se"] == pytest.approx(one["se"]) and row["df"] is None
    assert row["ci_low"] == pytest.approx(one["ci_low"])


@pytest.mark.parametrize("starts", [3, 10])
def test_intervals_hold_the_truth_about_as_often_as_they_say(starts: int) -> None:
    found = simulate_initializations.coverage(starts, 0.3, 200 if starts == 3 else 80)
    assert 0.85 < found.se_ratio < 1.15
    assert min(found.mean, found.difference, found.nested) > 0.90


@pytest.mark.slow
@pytest.mark.parametrize("starts", simulate_initializations.INITIALIZATIONS)
@pytest.mark.parametrize("spread", simulate_initializations.SPREADS)
def test_coverage_with_initializations(starts: int, spread: float) -> None:
    found = simulate_initializations.coverage(starts, spread, 2000)
    noise = 2 * np.sqrt(0.05 * 0.95 / 2000)
    for held in (found.mean, found.difference, found.nested):
        assert 0.93 - noise < held < 0.97 + noise
    assert found.se_ratio == pytest.approx(1, abs=0.06)


# The primary analysis


@pytest.mark.parametrize("test", ["obuchowski", "proper", "bootstrap"])
@pytest.mark.parametrize("folds", [None, 2])
def test_exactly_one_comparison_is_primary(folds: int | None, test: str) -> None:
    names = ("mttl", "mttl+heads=per_task", "sttl")
    runs, found, _ = study(folds, 3, names)
    rules = RULES._replace(primary=Primary("view", test, ("sttl", "mttl")))
    out = evaluate("test", runs, found, "t", rules)
    (row,) = (row for row in out["comparisons"] if row["primary"])
    assert out["comparisons"][0] is row and row["p_holm"] is None
    # A test of fits that may not be a headline gives way to Obuchowski's, as declared with it.
    fitted = {r["study"] for r in out["auc"] if r["method"] == "proper" and r["headline"]}
    barred = test == "proper" and not {"sttl", "mttl"} <= fitted
    method = "obuchowski" if barred else test
    assert (row["a"], row["b"], row["unit"], row["method"]) == ("sttl", "mttl", "view", method)
    assert row.get("declared_test") == ("proper" if barred else None)
    assert {r["study"] for r in out["auc"] if r["primary"]} == {"sttl", "mttl"}
    kind = "proper" if method == "proper" else "empirical"
    assert {r["method"] for r in out["auc"] if r["primary"]} == {kind}
    assert {r["design"] for r in out["comparisons"]} == {"crossed"}


def test_a_selected_stage_has_no_primary_comparison() -> None:
    runs, found, _ = study(2, 1)
    out = evaluate("cross_validation", runs, found, "t", RULES, selected=True)
    assert not any(row["primary"] for row in out["auc"] + out["comparisons"])
    assert all(row["selected"] for row in out["auc"] + out["comparisons"])


def test_secondary_p_values_are_adjusted_within_their_family() -> None:
    runs, found, _ = study(None, 1, ("mttl", "mttl+heads=per_task", "sttl"))
    rows = evaluate("test", runs, found, "t", RULES)["comparisons"]
    family = [r for r in rows if r["family"] == "test, lesion, obuchowski, test set"]
    assert sum(row["primary"] for row in family) == 1
    members = [row for row in family if not row["primary"]]
    assert len(members) == 3  # two pairs of the target, one of x
    p = sorted(row["p_value"] for row in members)
    smallest = first_of(members, p_value=p[0])
    assert smallest["p_holm"] == pytest.approx(min(1, 3 * p[0]))
    largest = first_of(members, p_value=p[-1])
    assert largest["p_holm"] == pytest.approx(min(1, max(3 * p[0], 2 * p[1], p[2])))


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(roc.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(roc.holm([0.5, 0.9]), [1, 1])
    assert len(roc.holm([])) == 0


@pytest.mark.parametrize(
    ("job", "names", "pair", "found"),
    [
        ("test", BOTH, (), BOTH),
        ("paper", BOTH, (), BOTH),
        ("test", ("mttl+without=each", "sttl"), (), ("mttl+without=t", "mttl+without=x")),
        ("test", ("sttl+of=each", "mttl", "sttl"), (), ("mttl", "sttl")),
        ("test", ("mttl", "mttl+without=each", "sttl"), ("sttl", "mttl"), ("sttl", "mttl")),
        ("test", ("sttl",), (), None),
        ("learning_curve", BOTH, (), None),
        ("depth", ("sttl",), (), None),
    ],
)
def test_the_pair_that_is_compared(
    job: str, names: tuple[str, ...], pair: tuple[str, ...], found: tuple[str, str] | None
) -> None:
    settings = config.default().statistics.primary
    settings.pair = pair
    primary = resolve_primary(settings, job, approaches(*names), "t")
    assert primary.pair == found and (found is not None or primary.reason)


def test_a_pair_that_is_not_tested_on_the_target_is_rejected() -> None:
    settings = config.default().statistics.primary
    settings.pair = ("mttl", "sttl+of=x")
    with pytest.raises(InputError, match="pair names 'sttl.of=x'; .* on t are mttl: name two"):
        resolve_primary(settings, "test", approaches("mttl", "sttl+of=x"), "t")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("statistics.primary.unit", "roi", "primary.unit='roi' is invalid: .* view, lesion"),
        (
            "statistics.primary.test",
            "delong",
            "primary.test='delong' is invalid: .* obuchowski, proper",
        ),
        (
            "statistics.primary.pair",
            ("mttl",),
            "primary.pair=.* is invalid: expected two different approaches",
        ),
        (
            "statistics.primary.pair",
            ("mttl", "mttl"),
            "primary.pair=.* is invalid: expected two different approaches",
        ),
        ("test.initializations", 2, "test.initializations=2 is invalid: expected 1, or 3 or more"),
    ],
)
def test_primary_settings_that_are_rejected(field: str, value: object, message: str) -> None:
    c = config.default()
    *path, last = field.split(".")
    section = c
    for name in path:
        section = section[name]
    section[last] = value
    with pytest.raises(InputError, match=message):
        config.validate(c)


# One reading, clustered


def test_the_interval_of_one_reading_is_that_of_a_mean_of_one() -> None:
    own = parts(6, 1, folds=1)
    for method in ("empirical", "proper"):
        found = roc.auc_interval(own[0].label, own[0].scores[0], own[0].patient, method)
        row = mean_auc(own, method)
        for key in ("auc", "se", "ci_low", "ci_high", "status", "n_malignant", "n_benign"):
            assert getattr(found, key) == row[key], key
        assert found.n_patients == row["n_cases"]


def test_without_patients_the_interval_is_delongs() -> None:
    own = parts(7, 1, folds=1)[0]
    found, delong = (
        roc.auc_interval(own.label, own.scores[0]),
        roc.empirical(own.label, own.scores[0]),
    )
    assert found.se == pytest.approx(delong.se) and found.ci_low == pytest.approx(delong.ci_low)
    one = roc.auc_interval([1, 0, 0], [0.5, 0.1, 0.9])
    assert one.status == "sparse" and one.ci_low < one.auc < one.ci_high
    with pytest.raises(ValueError, match="method must be"):
        roc.auc_interval([1, 0], [1, 0], method="delong")


def two_views(count: int) -> list[dict[str, roc.AucInterval | roc.Proper]]:
    """Intervals of simulated studies of 100 lesions with two views each, whose true AUC is
    Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(0)
    label, patient = np.repeat(np.arange(100) % 2, 2), np.repeat(np.arange(100), 2)
    found = []
    for _ in range(count):
        scores = label + 0.8 * np.repeat(rng.standard_normal(100), 2)
        scores += 0.6 * rng.standard_normal(200)
        found.append(
            {
                "clustered": roc.auc_interval(label, scores, patient, "proper"),
                "empirical": roc.auc_interval(label, scores, patient),
                "own": roc.proper(label, scores),
            }
        )
    return found


def test_clustering_widens_the_interval_of_a_fit() -> None:
    se = {name: np.mean([f[name].se for f in two_views(25)]) for name in ("clustered", "own")}
    assert se["clustered"] > 1.15 * se["own"]


@pytest.mark.slow
def test_intervals_clustered_by_patient_hold_the_truth() -> None:
    """The interval of the fit, which ignores patients, covers it too seldom."""
    truth, found = stats.norm.cdf(1 / np.sqrt(2)), two_views(600)
    held = {
        name: np.mean([f[name].ci_low <= truth <= f[name].ci_high for f in found])
        for name in found[0]
    }
    assert 0.84 < held["own"] < 0.91
    assert 0.93 < held["clustered"] < 0.975 and 0.93 < held["empirical"] < 0.975
