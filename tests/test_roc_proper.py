"""Proper binormal fits against published ones, an independent likelihood and identities."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq, minimize
from scipy.special import ndtr

from mtl_jax import roc
from mtl_jax.roc import proper_model
from mtl_jax.roc.bootstrap import resamples

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "roc"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="no reference data beside checkout")


def read_rows(name: str) -> list[dict[str, str]]:
    with open(SHARED / name, newline="") as file:
        return list(csv.DictReader(file))


def read_ratings(dataset: str) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    readings = defaultdict(lambda: ([], []))
    for row in read_rows(f"ratings_{dataset}.csv"):
        labels, scores = readings[row["modality"], row["reader"]]
        labels.append(float(row["truth"]))
        scores.append(float(row["rating"]))
    return readings


def reference_fractions(v: float, d: float, c: float) -> tuple[float, float]:
    """FPF and TPF as Metz and Pan 1999 write them."""
    q = np.sqrt(1 + c * c)
    h = float(c > 0)
    x, y = -(1 - c) * v, -(1 + c) * v
    if abs(c) < 1e-9:
        return ndtr(x - d / 2), ndtr(y + d / 2)
    second = d * q / (2 * c)
    return (
        ndtr(x - d * q / 2) + ndtr(x + second) - h,
        ndtr(y + d * q / 2) + ndtr(y + second) - h,
    )


@needs_shared
@pytest.mark.parametrize("dataset", ["TONY", "VD", "FR", "FZR", "NICO", "PEN", "JT"])
def test_published_fits(dataset: str) -> None:
    data = read_ratings(dataset)
    rows = [row for row in read_rows("expected_proper.csv") if row["dataset"] == dataset]
    for row in rows:
        fit = roc.proper(*data[row["modality"], row["reader"]])
        if float(row["loglik"]) == -666:  # no fit by the original program
            assert fit.status == "edge_only"
            continue
        assert fit.auc == pytest.approx(float(row["auc"]), abs=1e-6), row
        assert fit.loglik >= float(row["loglik"]) - 1e-6, row
        assert fit.se == pytest.approx(float(row["sd_auc"]), rel=1e-3), row
        assert fit.categories == int(row["categories"])
        assert fit.status in ("ok", "boundary")


@needs_shared
def test_simulated_fits() -> None:
    data = defaultdict(lambda: ([], []))
    for row in read_rows("simulated_scores.csv"):
        data[row["dataset"]][0].append(float(row["truth"]))
        data[row["dataset"]][1].append(float(row["score"]))
    fits = {name: roc.proper(*dataset) for name, dataset in data.items()}
    for row in read_rows("expected_simulated.csv"):
        fit = fits[row["dataset"]]
        if float(row["proproc_code"]) == 0 and float(row["n_cat"]) < 400:
            assert fit.auc == pytest.approx(float(row["auc"]), abs=1e-5), row
            assert fit.se == pytest.approx(float(row["sd_auc"]), rel=1e-3), row
            assert fit.loglik >= float(row["loglik"]) - 1e-6, row
    assert fits["perfect_n60"].status == "perfect"
    assert fits["constant_n40"].status == "undetermined"
    assert fits["tied2_n200"].status == "undetermined"


@st.composite
def random_cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(4, 60))
    labels = rng.permutation(np.arange(n) % 2)
    scores = rng.normal(size=n) * (1 + draw(st.floats(-0.6, 2)) * labels)
    scores += draw(st.floats(-0.5, 3)) * labels
    step = draw(st.sampled_from([0.0, 0.5, 1.5]))
    return labels, np.round(scores / step) * step if step else scores


@settings(max_examples=25, deadline=None)
@given(random_cases())
def test_fit_depends_on_ranks_and_is_mirrored_by_swapped_classes_and_negated_scores(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = data
    fit = roc.proper(labels, scores)
    transformed = roc.proper(labels, np.exp(scores / 2))
    assert (transformed.auc, transformed.se, transformed.loglik, transformed.status) == (
        fit.auc, fit.se, fit.loglik, fit.status)  # fmt: skip
    mirrored = roc.proper(1 - labels, -scores)
    assert mirrored.status == fit.status
    assert mirrored.loglik == pytest.approx(fit.loglik, abs=1e-6)
    assert mirrored.auc == pytest.approx(fit.auc, abs=2e-5)
    if fit.status == "ok":
        assert mirrored.se == pytest.approx(fit.se, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(random_cases())
def test_curve_is_concave_and_its_partial_aucs_sum_to_the_auc(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    fit = roc.proper(*data)
    assert 0 <= fit.ci_low <= fit.auc <= fit.ci_high <= 1
    fpf, tpf = fit.curve(101)
    assert (fpf[0], tpf[0], fpf[-1], tpf[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(fpf) >= 0) and np.all(np.diff(tpf) >= -1e-12)
    auc = fit.partial_auc(0, 1)
    expected = 0.5 if fit.status == "below_chance" else fit.auc
    assert auc == pytest.approx(expected, abs=2e-5)
    assert fit.partial_auc(0, 0.3) + fit.partial_auc(0.3, 1) == pytest.approx(auc, abs=1e-5)
    grid = np.linspace(0.05, 0.95, 19)
    slopes = np.diff(fit.tpf(np.concatenate(([0.0], grid, [1.0]))))
    assert np.all(np.diff(slopes) <= 1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_direct_maximization_finds_no_higher_likelihood(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(120) % 2
    scores = np.digitize(rng.normal(size=120) * (1 + labels) + labels, [-0.7, 0.2, 1.0])
    fit = roc.proper(labels, scores)
    benign, malignant = (np.bincount(scores[labels == k], minlength=4)[::-1] for k in (0, 1))

    def loss(x: np.ndarray) -> float:
        d, c, v = abs(x[0]), np.tanh(x[1]), np.sort(x[2:])[::-1]
        bound = d * np.sqrt(1 + c * c) / (4 * c)
        v = np.maximum(v, bound) if c < 0 else np.minimum(v, bound)
        points = np.array([(0, 0), *(reference_fractions(t, d, c) for t in v), (1, 1)])
        p, q = np.diff(points, axis=0).T
        if min(p.min(), q.min()) <= 0:
            return 1e6
        return -float(benign @ np.log(p) + malignant @ np.log(q))

    best = np.inf
    for c in (-0.6, -0.1, 0.2):
        start = np.array([1.0, c, 1.0, 0.2, -0.4])
        result = minimize(loss, start, method="Nelder-Mead",
                         options={"maxfev": 6000, "xatol": 1e-8, "fatol": 1e-10})  # fmt: skip
        best = min(best, result.fun)
    assert fit.loglik == pytest.approx(-best, abs=1e-5)


@pytest.mark.parametrize(("d", "c"), [(1.3, -0.3), (0.9, 0.4), (1.8, -1e-7), (1e-5, 0.7)])
def test_auc_and_its_gradient(d: float, c: float) -> None:
    def tpf(fpf: float) -> float:
        bound = d * np.sqrt(1 + c * c) / (4 * c)
        far = 60 / (1 - abs(c))
        low, high = (max(bound, -far), far) if c < 0 else (-far, min(bound, far))
        v = brentq(lambda v: reference_fractions(v, d, c)[0] - fpf, low, high, xtol=1e-14)
        return reference_fractions(v, d, c)[1]

    auc = quad(tpf, 1e-12, 1 - 1e-12, epsabs=1e-9, limit=200)[0]
    assert proper_model.auc_of_curve(d, c) == pytest.approx(auc, abs=1e-7)
    by_d, by_c = proper_model.auc_gradient(d, c)
    h = 1e-6
    assert by_d == pytest.approx(
        (proper_model.auc_of_curve(d + h, c) - proper_model.auc_of_curve(d - h, c)) / (2 * h),
        abs=1e-5,
    )
    assert by_c == pytest.approx(
        (proper_model.auc_of_curve(d, c + h) - proper_model.auc_of_curve(d, c - h)) / (2 * h),
        abs=1e-5,
    )


def test_sensitivity_at_a_specificity_and_its_standard_error() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(300) % 2
    scores = rng.normal(size=300) * (1 + 0.4 * labels) + 1.1 * labels
    fit = roc.proper(labels, scores)

    def sensitivity(d: float, c: float) -> float:
        low = d * np.sqrt(1 + c * c) / (4 * c)
        v = brentq(lambda v: reference_fractions(v, d, c)[0] - 0.1, low, 50, xtol=1e-14)
        return reference_fractions(v, d, c)[1]

    value, se = fit.sensitivity_at(0.9)
    assert value == pytest.approx(sensitivity(fit.d_a, fit.c), abs=1e-9)
    h = 1e-5
    d, c = fit.d_a, fit.c
    gradient = np.array([sensitivity(d + h, c) - sensitivity(d - h, c),
                         sensitivity(d, c + h) - sensitivity(d, c - h)]) / (2 * h)  # fmt: skip
    assert se == pytest.approx(float(np.sqrt(gradient @ fit.covariance @ gradient)), rel=1e-4)
    assert float(fit.fpf(value)) == pytest.approx(0.1, abs=1e-8)


@pytest.mark.parametrize(
    ("malignant", "benign", "status"),
    [
        ([3, 4, 5], [0, 1, 2], "perfect"),
        ([1, 1, 1], [1, 1, 1], "undetermined"),
        ([1, 1, 0], [1, 0, 0], "undetermined"),
        ([1, 1, 0, 0], [0, 0, 0, 0], "edge_only"),
        ([0, 1, 2], [3, 4, 5], "below_chance"),
        ([1, 0, 0], [1, 1, 0], "below_chance"),
        ([2], [1, 3, 0, 4], "sparse"),
    ],
)
def test_degenerate_data_have_a_status(
    malignant: list[int], benign: list[int], status: str
) -> None:
    labels = [1] * len(malignant) + [0] * len(benign)
    fit = roc.proper(labels, malignant + benign)
    assert fit.status == status
    assert np.isfinite([fit.auc, fit.se, fit.ci_low, fit.ci_high, fit.loglik]).all()
    assert fit.ci_low < fit.ci_high
    assert np.isfinite(fit.curve(11)).all()
    assert fit.tpf([0.0, 0.5, 1.0])[-1] == 1
    other = roc.conventional(labels, malignant + benign)
    assert np.isfinite([other.auc, other.se, other.ci_low, other.ci_high]).all()


def test_conventional_fit_equals_a_direct_maximization() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(200) % 2
    scores = np.digitize(rng.normal(size=200) * (1 + 0.5 * labels) + labels, [-0.5, 0.5, 1.5])
    fit = roc.conventional(labels, scores)
    benign, malignant = (np.bincount(scores[labels == k], minlength=4)[::-1] for k in (0, 1))

    def loss(x: np.ndarray) -> float:
        cutoffs = np.concatenate(([np.inf], x[2] - np.cumsum([0, *np.exp(x[3:])]), [-np.inf]))
        p, q = np.diff(ndtr(-cutoffs)), np.diff(ndtr(x[0] - np.exp(x[1]) * cutoffs))
        return -float(benign @ np.log(p) + malignant @ np.log(q))

    options = {"maxfev": 9000, "maxiter": 9000, "xatol": 1e-9, "fatol": 1e-12}
    result = minimize(loss, [1, 0, 1.5, 0, 0], method="Nelder-Mead", options=options)
    assert fit.loglik == pytest.approx(-result.fun, abs=1e-7)
    assert fit.a == pytest.approx(result.x[0], abs=1e-4)
    assert fit.b == pytest.approx(np.exp(result.x[1]), abs=1e-4)


def test_pooled_categories_approximate_the_fit() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(500) % 2
    scores = rng.normal(size=500) + labels
    full, pooled = roc.proper(labels, scores), roc.proper(labels, scores, max_categories=20)
    assert full.categories > 100 and pooled.categories <= 20
    assert pooled.auc == pytest.approx(full.auc, abs=0.01)
    with pytest.raises(ValueError, match="max_categories"):
        roc.proper(labels, scores, max_categories=1)


@pytest.mark.parametrize("cases", [60, 600])  # few categories, and many, which are pooled first
def test_bootstrap_refits_every_resample(cases: int) -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(cases) % 2
    scores = rng.normal(size=cases) * (1 + labels) + labels
    patient = np.arange(cases) // 3
    result = roc.bootstrap(labels, scores, patient, method="proper", samples=12, seed=3)
    weights = np.concatenate(list(resamples(labels == 1, patient, 12, 3)))
    for auc, counts in zip(result.samples, weights.astype(int), strict=True):
        fit = roc.proper(np.repeat(labels, counts), np.repeat(scores, counts))
        assert auc == pytest.approx(fit.auc, abs=1e-6)


def test_paired_test_of_fitted_aucs_agrees_with_its_bootstrap() -> None:
    rng = np.random.default_rng(8)
    patient = np.repeat(np.arange(150), 2)
    labels = np.repeat(np.arange(150) % 2, 2)
    shared = rng.normal(size=150)[patient] + rng.normal(size=300)
    a, b = (shared + rng.normal(size=300) + k * labels for k in (2.2, 1.6))
    test = roc.compare(labels, a, b, method="proper", clusters=patient)
    aucs = [roc.bootstrap(labels, s, patient, "proper", 300, seed=1).samples for s in (a, b)]
    assert test.se == pytest.approx(np.std(aucs[0] - aucs[1], ddof=1), rel=0.12)
    assert test.correlation == pytest.approx(np.corrcoef(aucs)[0, 1], abs=0.1)
    assert test.auc_a == pytest.approx(roc.proper(labels, a).auc, abs=1e-12)
    swapped = roc.compare(labels, b, a, method="proper", clusters=patient)
    assert swapped.z == pytest.approx(-test.z, abs=1e-9)
    same = roc.compare(labels, a, 3 * a, method="proper", clusters=patient)
    assert (same.z, same.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("call", ["tpf", "fpf", "partial_auc", "sensitivity_at"])
def test_fractions_outside_the_unit_interval_are_rejected(call: str) -> None:
    fit = roc.proper([0, 1, 0, 1, 1], [1, 2, 3, 4, 0])
    arguments = {"partial_auc": (-0.1, 0.5)}.get(call, (1.2,))
    with pytest.raises(ValueError, match="within 0 and 1"):
        getattr(fit, call)(*arguments)
