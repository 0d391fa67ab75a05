"""AUC estimators, the primary comparison and families of secondary tests, checked against direct
computation, the functions for a single AUC, and simulation."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_study import make_roi_set

from mtl_jax import config, roc
from mtl_jax.experiments import evaluation, stage_tables
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc, mean_difference
from mtl_jax.experiments.evaluation import EvaluationRules, evaluate
from mtl_jax.experiments.primary_comparison import Primary, resolve_primary
from mtl_jax.experiments.run_lists import Approach, expand_approaches
from mtl_jax.experiments.scores import Scores, concatenate, make_scores
from mtl_jax.roc.clustered import covariance
from mtl_jax.roc.influence import empirical_influence
from mtl_jax.types import InputError, RoiSet, Run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import simulate_initializations

BOTH = ("mttl", "sttl")
RULES = EvaluationRules("view", Primary("lesion", "obuchowski", BOTH), 200, 0)


@pytest.fixture(autouse=True)
def kept_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit the scores once that several tests evaluate."""
    monkeypatch.setattr(evaluation, "clear_fit_cache", lambda: None)


def approaches(*names: str, heads: str = "shared") -> list[Approach]:
    return expand_approaches(names, "t", ("t", "x"), heads, {})


def study(
    folds: int | None, initializations: int, names: Sequence[str] = BOTH, cases: int = 60
) -> tuple[list[Run], dict[str, Scores], RoiSet]:
    """Return runs, their scores and the ROIs of t.

    Cases have two views with correlated scores; on the test set x is scored as well.
    """
    rois = {name: make_roi_set(name, cases, seed=1) for name in ("t", "x")}
    index = rois["t"].index
    runs = [
        approach.make_run("C1", fold, 0, initialization=initialization)
        for approach in approaches(*names)
        for initialization in range(initializations)
        for fold in ([None] if folds is None else range(folds))
    ]
    tables = {}
    for run in runs:
        rng = np.random.default_rng([names.index(run.approach), run.initialization])
        shared = np.repeat(np.random.default_rng(9).standard_normal(cases), 2)
        values = shared + index["label"] * (1 + 0.2 * rng.standard_normal())
        values += rng.standard_normal(2 * cases)
        fold_of_row = np.arange(2 * cases) // 6 % (folds or 1)
        rows = np.flatnonzero(fold_of_row == (run.fold or 0))
        tasks = ("t", "x") if folds is None and "x" in run.tasks else ("t",)
        tables[run.id] = concatenate([make_scores(rois[t], rows, values[rows]) for t in tasks])
    return runs, tables, rois["t"]


def empirical_auc(scores: Scores, unit: str) -> float:
    scores = scores.select_rows(scores.task == "t")
    if unit == "view":
        return roc.empirical(scores.label, scores.score).auc
    lesions = roc.view_to_lesion(scores.label, scores.score, scores.case_id, scores.lesion_id)
    return roc.empirical(lesions.labels, lesions.scores).auc


def first_row(rows: list[dict], **columns: object) -> dict:
    return next(row for row in rows if all(row[key] == value for key, value in columns.items()))


# Estimators


@pytest.mark.parametrize("initializations", [1, 3])
@pytest.mark.parametrize("unit", ["view", "lesion"])
def test_first_row_is_the_mean_over_folds_and_initializations(
    unit: str, initializations: int
) -> None:
    runs, tables, _ = study(3, initializations)
    rows = evaluate("cross_validation", runs, tables, "t", RULES)["auc"]
    for approach in BOTH:
        aucs = [empirical_auc(tables[run.id], unit) for run in runs if run.approach == approach]
        row = first_row(rows, study=approach, unit=unit, method="empirical")
        assert row["auc"] == pytest.approx(np.mean(aucs))
        estimator = "mean over folds" + (" and initializations" if initializations > 1 else "")
        assert (row["estimator"], row["headline"]) == (estimator, True)
        assert row["primary"] == (unit == "lesion") and not row["selected"]
        assert row["initializations"] == list(range(initializations))
    assert sum(row["primary"] for row in rows) == 2


def test_pooled_scores_count_each_case_once() -> None:
    runs, tables, rois = study(3, 3, ("sttl",))
    rows = evaluate("cross_validation", runs, tables, "t", RULES)["auc"]
    pooled = first_row(rows, unit="view", method="empirical", estimator="pooled over folds")
    aucs = []
    for initialization in range(3):
        scores = concatenate([tables[r.id] for r in runs if r.initialization == initialization])
        malignant, benign = (scores.score[scores.label == label] for label in (1, 0))
        aucs.append((malignant[:, None] > benign).mean())
    assert pooled["auc"] == pytest.approx(np.mean(aucs)) and pooled["cases"] == "pooled"
    assert pooled["n_malignant"] + pooled["n_benign"] == len(rois) == 120
    assert pooled["n_cases"] == 60 and not pooled["headline"] and not pooled["primary"]
    folds = [row for row in rows if (row["unit"], row["method"]) == ("view", "empirical")]
    assert [row["estimator"] for row in folds][-3:] == ["one fold"] * 3
    assert [row["cases"] for row in folds][-3:] == ["fold 1", "fold 2", "fold 3"]


def test_target_comes_first() -> None:
    runs, tables, _ = study(None, 1)
    out = evaluate("test", runs, tables, "t", RULES)
    assert {row["task"] for row in out["auc"]} == {"t", "x"}
    for approach, unit, method in itertools.product(
        BOTH, stage_tables.UNITS, ("empirical", "proper")
    ):
        row = first_row(out["auc"], study=approach, unit=unit, method=method)
        assert (row["task"], row["cases"], row["estimator"]) == ("t", "test", "test set")
    assert not any(row["headline"] or row["primary"] for row in out["auc"] if row["task"] == "x")


@pytest.mark.parametrize("method", ["obuchowski", "proper", "bootstrap"])
@pytest.mark.parametrize("unit", ["view", "lesion"])
def test_single_runs_are_compared_as_by_roc_compare(unit: str, method: str) -> None:
    runs, tables, _ = study(None, 1)
    row = first_row(evaluate("test", runs, tables, "t", RULES)["comparisons"], unit=unit,
                   method=method)  # fmt: skip
    (label, a, patient), (_, b, _) = (
        stage_tables.aggregate(tables[run.id].select_rows(tables[run.id].task == "t"), unit)
        for run in runs
    )
    test = roc.compare(label, a, b, method, patient, samples=200)
    for key in ("auc_a", "auc_b", "delta", "se", "p_value", "ci_low", "ci_high"):
        assert row[key] == pytest.approx(getattr(test, key), rel=1e-6, abs=1e-9), key
    assert (row["status"], row["df"], row["design"]) == (test.status, None, None)
    assert row["var_initializations"] is None


def test_proper_fit_of_reversed_scores_is_not_the_headline() -> None:
    """Malignant scores are lower and vary more: the empirical AUC is below 0.5, that of the proper
    fit above."""
    rng = np.random.default_rng(4)
    cases = 150
    rois = make_roi_set("t", cases, views=1)
    label = rois.index["label"]
    values = np.where(label == 1, 2.2 * rng.standard_normal(cases) - 0.15,
                      rng.standard_normal(cases))  # fmt: skip
    run = Run("sttl", ("t",), "C1", None, 0)
    tables = {run.id: make_scores(rois, np.arange(cases), values)}
    rows = evaluate("test", [run], tables, "t", RULES)["auc"]
    empirical, proper = (first_row(rows, method=m, unit="view") for m in ("empirical", "proper"))
    assert empirical["auc"] < 0.5 < 0.55 < proper["auc"]
    assert empirical["headline"] and not proper["headline"]


def test_mean_with_a_failed_fit_is_not_the_headline() -> None:
    runs, tables, _ = study(2, 1, ("sttl",), cases=240)
    table = tables[runs[0].id]
    tables[runs[0].id] = table._replace(score=table.label.astype(np.float32))
    rows = evaluate("cross_validation", runs, tables, "t", RULES)["auc"]
    row = first_row(rows, method="proper", unit="lesion")
    assert (row["status"], row["n_fits"], row["n_fits_failed"]) == ("perfect", 2, 1)
    assert not row["headline"]


# Several initializations


def make_folds(
    seed: int, initializations: int, folds: int = 2, patients: int = 24
) -> list[FoldScores]:
    rng = np.random.default_rng(seed)
    scores = []
    for fold in range(folds):
        label = np.repeat((np.arange(patients) % 3 == 0).astype(int), 2)
        patient = np.repeat([f"{fold}-{i}" for i in range(patients)], 2)
        shared = label + np.repeat(rng.standard_normal(patients), 2)
        separation = label * rng.standard_normal((initializations, 1))
        noise = rng.standard_normal((initializations, len(label)))
        scores.append(FoldScores(label, patient, shared + separation + noise))
    return scores


def one_initialization(folds: list[FoldScores], number: int) -> list[FoldScores]:
    return [fold._replace(scores=fold.scores[[number]]) for fold in folds]


def covariance_by_pairs(a: list[FoldScores], b: list[FoldScores] | None = None) -> float:
    """Return the mean over pairs of initializations of the covariance of their mean AUCs, computed
    pair by pair; without `b`, over pairs of different initializations of `a`."""
    pairs = [
        (r, s)
        for r in range(len(a[0].scores))
        for s in range(len((b or a)[0].scores))
        if b or r != s
    ]
    total = 0.0
    for fold_a, fold_b in zip(a, b or a, strict=True):
        truth, codes = fold_a.label == 1, np.unique(fold_a.patient, return_inverse=True)[1]
        for r, s in pairs:
            influences = tuple(
                empirical_influence(truth, scores)[1]
                for scores in (fold_a.scores[r], fold_b.scores[s])
            )
            total += covariance(truth, influences, codes)[0, 1]
    return total / len(pairs) / len(a) ** 2


def test_variance_of_a_mean_equals_that_by_pairs_of_initializations() -> None:
    folds = make_folds(0, 4)
    row = mean_auc(folds)
    means = np.mean(row["aucs"], axis=1)
    assert row["var_patients"] == pytest.approx(covariance_by_pairs(folds))
    assert row["var_initializations"] == pytest.approx(np.var(means, ddof=1) / 4)
    assert row["se"] ** 2 == pytest.approx(row["var_patients"] + row["var_initializations"])
    assert row["df"] == pytest.approx(3 * row["se"] ** 2 / row["var_initializations"])
    half_width = stats.t.ppf(0.975, row["df"]) * row["se"] / (row["auc"] * (1 - row["auc"]))
    logit = np.log(row["auc"] / (1 - row["auc"]))
    expected = 1 / (1 + np.exp(-np.array([logit - half_width, logit + half_width])))
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], expected)
    assert "initializations" in row["se_method"]


@pytest.mark.parametrize("initializations", [1, 2])
def test_fewer_than_three_initializations_give_the_variance_over_patients(
    initializations: int,
) -> None:
    row = mean_auc(make_folds(1, initializations))
    assert row["var_initializations"] is None and row["df"] is None
    assert row["se_method"] == "patients (Obuchowski 1997)"
    test = mean_difference(make_folds(1, initializations), make_folds(2, initializations))
    assert (test["p_value"] is None) == (initializations == 2)


def test_crossed_difference_is_the_mean_of_differences() -> None:
    a, b = make_folds(3, 5), [f._replace(scores=f.scores[:, ::-1]) for f in make_folds(3, 5)]
    row = mean_difference(a, b)
    deltas = np.mean(mean_auc(a)["aucs"], 1) - np.mean(mean_auc(b)["aucs"], 1)
    between = np.var(deltas, ddof=1) / 5
    assert row["delta"] == pytest.approx(deltas.mean())
    assert row["var_initializations"] == pytest.approx(between)
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(row["delta"]) / row["se"], row["df"]))
    assert row["design"] == "crossed"
    # The 5 x 4 pairs of differences: the covariances within a, within b, and of a with b (r != s).
    same = sum(
        covariance_by_pairs(one_initialization(a, r), one_initialization(b, r)) for r in range(5)
    )
    across = 5 / 4 * covariance_by_pairs(a, b) - same / 20
    patients = covariance_by_pairs(a) + covariance_by_pairs(b) - 2 * across
    assert row["var_patients"] == pytest.approx(max(patients, 0))


def test_nested_difference_has_two_variances_between_initializations() -> None:
    a, b = make_folds(4, 5), make_folds(4, 3)
    row = mean_difference(a, b, crossed=False)
    between = [
        np.var(np.mean(mean_auc(folds)["aucs"], 1), ddof=1) / len(folds[0].scores)
        for folds in (a, b)
    ]
    assert row["var_initializations"] == pytest.approx(sum(between))
    patients = covariance_by_pairs(a) + covariance_by_pairs(b) - 2 * covariance_by_pairs(a, b)
    assert row["var_patients"] == pytest.approx(max(patients, 0))
    assert row["design"] == "nested"
    share = sum(between) / row["se"] ** 2
    df_between = sum(between) ** 2 / (between[0] ** 2 / 4 + between[1] ** 2 / 2)
    assert row["df"] == pytest.approx(df_between / share)


def test_equal_initializations_leave_the_variance_over_patients() -> None:
    single = make_folds(5, 1)
    repeated = [f._replace(scores=np.repeat(f.scores, 3, axis=0)) for f in single]
    row, single_row = mean_auc(repeated), mean_auc(single)
    assert row["se"] == pytest.approx(single_row["se"]) and row["df"] is None
    assert row["ci_low"] == pytest.approx(single_row["ci_low"])


@pytest.mark.parametrize("initializations", [3, 10])
def test_simulated_coverage_is_near_nominal(initializations: int) -> None:
    studies = 200 if initializations == 3 else 80
    coverage = simulate_initializations.coverage(initializations, 0.3, studies)
    assert 0.85 < coverage.se_ratio < 1.15
    assert min(coverage.mean, coverage.difference, coverage.nested) > 0.90


@pytest.mark.slow
@pytest.mark.parametrize("initializations", simulate_initializations.INITIALIZATIONS)
@pytest.mark.parametrize("spread", simulate_initializations.SPREADS)
def test_coverage_with_initializations(initializations: int, spread: float) -> None:
    coverage = simulate_initializations.coverage(initializations, spread, 2000)
    tolerance = 2 * np.sqrt(0.05 * 0.95 / 2000)
    for rate in (coverage.mean, coverage.difference, coverage.nested):
        assert 0.93 - tolerance < rate < 0.97 + tolerance
    assert coverage.se_ratio == pytest.approx(1, abs=0.06)


# The primary comparison


@pytest.mark.parametrize("test", ["obuchowski", "proper", "bootstrap"])
@pytest.mark.parametrize("folds", [None, 2])
def test_exactly_one_comparison_is_primary(folds: int | None, test: str) -> None:
    names = ("mttl", "mttl+heads=per_task", "sttl")
    runs, tables, _ = study(folds, 3, names)
    rules = RULES._replace(primary=Primary("view", test, ("sttl", "mttl")))
    out = evaluate("test", runs, tables, "t", rules)
    (row,) = (row for row in out["comparisons"] if row["primary"])
    assert out["comparisons"][0] is row and row["p_holm"] is None
    # Obuchowski's test replaces a test of proper fits that cannot be reported.
    reportable = {r["study"] for r in out["auc"] if r["method"] == "proper" and r["headline"]}
    replaced = test == "proper" and not {"sttl", "mttl"} <= reportable
    method = "obuchowski" if replaced else test
    assert (row["a"], row["b"], row["unit"], row["method"]) == ("sttl", "mttl", "view", method)
    assert row.get("declared_test") == ("proper" if replaced else None)
    assert {r["study"] for r in out["auc"] if r["primary"]} == {"sttl", "mttl"}
    auc_method = "proper" if method == "proper" else "empirical"
    assert {r["method"] for r in out["auc"] if r["primary"]} == {auc_method}
    assert {r["design"] for r in out["comparisons"]} == {"crossed"}


def test_selected_stage_has_no_primary_comparison() -> None:
    runs, tables, _ = study(2, 1)
    out = evaluate("cross_validation", runs, tables, "t", RULES, selected=True)
    assert not any(row["primary"] for row in out["auc"] + out["comparisons"])
    assert all(row["selected"] for row in out["auc"] + out["comparisons"])


def test_secondary_p_values_are_adjusted_within_their_family() -> None:
    runs, tables, _ = study(None, 1, ("mttl", "mttl+heads=per_task", "sttl"))
    rows = evaluate("test", runs, tables, "t", RULES)["comparisons"]
    family = [r for r in rows if r["family"] == "test, lesion, obuchowski, test set"]
    assert sum(row["primary"] for row in family) == 1
    members = [row for row in family if not row["primary"]]
    assert len(members) == 3  # two pairs of the target, one of x
    p = sorted(row["p_value"] for row in members)
    smallest = first_row(members, p_value=p[0])
    assert smallest["p_holm"] == pytest.approx(min(1, 3 * p[0]))
    largest = first_row(members, p_value=p[-1])
    assert largest["p_holm"] == pytest.approx(min(1, max(3 * p[0], 2 * p[1], p[2])))


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(roc.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(roc.holm([0.5, 0.9]), [1, 1])
    assert len(roc.holm([])) == 0


@pytest.mark.parametrize(
    ("study_name", "names", "pair", "expected"),
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
def test_primary_pair(
    study_name: str, names: tuple[str, ...], pair: tuple[str, ...], expected: tuple[str, str] | None
) -> None:
    settings = config.default().statistics.primary
    settings.pair = pair
    primary = resolve_primary(settings, study_name, approaches(*names), "t")
    assert primary.pair == expected and (expected is not None or primary.reason)


def test_pair_that_is_not_tested_on_the_target_is_rejected() -> None:
    settings = config.default().statistics.primary
    settings.pair = ("mttl", "sttl+of=x")
    with pytest.raises(
        InputError,
        match="primary.pair=.* 'sttl.of=x' is not tested on t; expected .. or two of: mttl",
    ):
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
def test_invalid_primary_settings_are_rejected(field: str, value: object, message: str) -> None:
    c = config.default()
    c.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message):
        config.validate(c)


# The interval of one AUC, clustered by patient


def test_interval_of_one_auc_is_that_of_a_mean_of_one() -> None:
    (fold,) = make_folds(6, 1, folds=1)
    for method in ("empirical", "proper"):
        interval = roc.auc_interval(fold.label, fold.scores[0], fold.patient, method)
        row = mean_auc([fold], method)
        for key in ("auc", "se", "ci_low", "ci_high", "status", "n_malignant", "n_benign"):
            assert getattr(interval, key) == row[key], key
        assert interval.n_patients == row["n_cases"]


def test_interval_without_patients_is_that_of_delong() -> None:
    (fold,) = make_folds(7, 1, folds=1)
    interval = roc.auc_interval(fold.label, fold.scores[0])
    delong = roc.empirical(fold.label, fold.scores[0])
    assert interval.se == pytest.approx(delong.se)
    assert interval.ci_low == pytest.approx(delong.ci_low)
    sparse = roc.auc_interval([1, 0, 0], [0.5, 0.1, 0.9])
    assert sparse.status == "sparse" and sparse.ci_low < sparse.auc < sparse.ci_high
    with pytest.raises(ValueError, match="expected one of empirical, proper"):
        roc.auc_interval([1, 0], [1, 0], method="delong")


def simulate_intervals(count: int) -> list[dict[str, roc.AucInterval | roc.Proper]]:
    """Return intervals of simulated studies of 100 lesions with two views each, whose true AUC is
    Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(0)
    label, patient = np.repeat(np.arange(100) % 2, 2), np.repeat(np.arange(100), 2)
    intervals = []
    for _ in range(count):
        scores = label + 0.8 * np.repeat(rng.standard_normal(100), 2)
        scores += 0.6 * rng.standard_normal(200)
        intervals.append(
            {
                "clustered": roc.auc_interval(label, scores, patient, "proper"),
                "empirical": roc.auc_interval(label, scores, patient),
                "unclustered": roc.proper(label, scores),
            }
        )
    return intervals


def test_clustering_widens_the_interval_of_a_fit() -> None:
    intervals = simulate_intervals(25)
    se = {name: np.mean([i[name].se for i in intervals]) for name in ("clustered", "unclustered")}
    assert se["clustered"] > 1.15 * se["unclustered"]


@pytest.mark.slow
def test_coverage_of_intervals_clustered_by_patient() -> None:
    """The coverage of the interval of the fit, which ignores patients, is too low."""
    auc, intervals = stats.norm.cdf(1 / np.sqrt(2)), simulate_intervals(600)
    coverage = {
        name: np.mean([i[name].ci_low <= auc <= i[name].ci_high for i in intervals])
        for name in intervals[0]
    }
    assert 0.84 < coverage["unclustered"] < 0.91
    assert 0.93 < coverage["clustered"] < 0.975 and 0.93 < coverage["empirical"] < 0.975
