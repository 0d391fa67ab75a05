"""Empirical AUCs, their tests and bootstrap, checked with pROC, brute force and identities."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_jax import roc
from mtl_jax.roc.bootstrap import resamples

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "roc"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no reference data next to the checkout"
)


@st.composite
def cases(draw: st.DrawFn, readings: int = 1) -> tuple[np.ndarray, ...]:
    """Return labels of both classes and scores on a coarse or fine grid."""
    n = draw(st.integers(2, 40))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    labels[:2] = 0, 1
    maximum = draw(st.sampled_from([1, 3, 1000]))
    grid = st.lists(st.integers(0, maximum), min_size=n, max_size=n)
    return labels, *(np.array(draw(grid), float) for _ in range(readings))


def brute_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    pairs = itertools.product(scores[labels == 1], scores[labels == 0])
    return float(np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs]))


@needs_shared
def test_delong_equals_proc() -> None:
    with open(SHARED / "asah.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = json.loads((SHARED / "expected_asah_delong.json").read_text())
    labels = [int(row["outcome"] == "Poor") for row in rows]
    markers = {k: [float(row[k]) for row in rows] for k in ("wfns", "s100b", "ndka")}
    for name, scores in markers.items():
        fit = roc.empirical(labels, scores)
        assert fit.auc == pytest.approx(expected[f"auc_{name}"], abs=1e-10)
        assert fit.se**2 == pytest.approx(expected[f"var_delong_{name}"], abs=1e-10)
    for a, b in itertools.combinations(markers, 2):
        test = roc.compare(labels, markers[a], markers[b])
        assert test.z == pytest.approx(expected[f"z_{a}_{b}"], abs=1e-10)
        assert test.p_value == pytest.approx(expected[f"p_{a}_{b}"], abs=1e-10)


@given(cases())
def test_auc_and_curve_equal_the_pair_count(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    fit = roc.empirical(labels, scores)
    assert fit.auc == pytest.approx(brute_auc(labels, scores), abs=1e-12)
    assert np.trapezoid(fit.tpf, fit.fpf) == pytest.approx(fit.auc, abs=1e-12)
    assert fit.ci_low <= fit.auc <= fit.ci_high
    for fpf, tpf, threshold in zip(fit.fpf, fit.tpf, fit.threshold, strict=True):
        assert fpf == np.mean(scores[labels == 0] >= threshold)
        assert tpf == np.mean(scores[labels == 1] >= threshold)


@given(cases())
def test_auc_depends_on_ranks_and_is_symmetric_in_the_classes(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, scores = data
    fit = roc.empirical(labels, scores)
    assert roc.empirical(labels, np.arctan(scores) * 7 - 3) == fit
    mirrored = roc.empirical(1 - labels, -scores)
    assert mirrored.auc == pytest.approx(fit.auc, abs=1e-12)
    assert mirrored.se == pytest.approx(fit.se, abs=1e-12)


@given(cases(readings=2))
def test_identities_of_comparisons(data: tuple[np.ndarray, ...]) -> None:
    labels, a, b = data
    delong = roc.compare(labels, a, b)
    assert np.isfinite([delong.z, delong.p_value, delong.ci_low, delong.ci_high]).all()
    single_clusters = roc.compare(labels, a, b, method="obuchowski", clusters=np.arange(len(a)))
    assert single_clusters.se == pytest.approx(delong.se, abs=1e-12)
    for method in ("delong", "obuchowski", "bootstrap"):
        forward = roc.compare(labels, a, b, method=method, samples=50)
        backward = roc.compare(labels, b, a, method=method, samples=50)
        assert backward.z == pytest.approx(-forward.z, abs=1e-9)
        assert backward.p_value == pytest.approx(forward.p_value, abs=1e-9)
        same = roc.compare(labels, a, 2 * a + 1, method=method, samples=50)
        assert (same.z, same.p_value, same.delta) == (0.0, 1.0, 0.0)


@given(cases(readings=2), st.integers(1, 6))
def test_repeated_cases_of_the_same_patients_do_not_change_the_result(
    data: tuple[np.ndarray, ...], patients: int
) -> None:
    labels, a, b = data
    patient = np.arange(len(a)) % patients
    once = roc.compare(labels, a, b, method="obuchowski", clusters=patient)
    twice = roc.compare(
        np.tile(labels, 2), np.tile(a, 2), np.tile(b, 2), "obuchowski", np.tile(patient, 2)
    )
    assert twice.auc_a == pytest.approx(once.auc_a, abs=1e-12)
    assert twice.se == pytest.approx(once.se, abs=1e-9)
    bootstrap_once = roc.bootstrap(labels, a, patient, samples=30)
    bootstrap_twice = roc.bootstrap(
        np.tile(labels, 2), np.tile(a, 2), np.tile(patient, 2), samples=30
    )
    np.testing.assert_allclose(bootstrap_twice.samples, bootstrap_once.samples, atol=1e-12)


def test_obuchowski_variance_equals_the_pairwise_sums_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    labels, patient = rng.integers(0, 2, 30), rng.integers(0, 9, 30)
    scores = np.round(rng.normal(size=30) + labels, 1)
    x, y = scores[labels == 1], scores[labels == 0]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    auc, m, n = psi.mean(), len(x), len(y)
    ids = np.unique(patient)
    sum_x = [(psi.mean(1) - auc)[patient[labels == 1] == i].sum() for i in ids]
    sum_y = [(psi.mean(0) - auc)[patient[labels == 0] == i].sum() for i in ids]
    n_malignant_patients = len(set(patient[labels == 1]))
    n_benign_patients = len(set(patient[labels == 0]))
    s10 = n_malignant_patients / ((n_malignant_patients - 1) * m) * np.dot(sum_x, sum_x)
    s01 = n_benign_patients / ((n_benign_patients - 1) * n) * np.dot(sum_y, sum_y)
    s11 = len(ids) / (len(ids) - 1) * np.dot(sum_x, sum_y)
    variance = s10 / m + s01 / n + 2 * s11 / (m * n)
    constant = np.zeros(30)
    test = roc.compare(labels, scores, constant, method="obuchowski", clusters=patient)
    assert test.se**2 == pytest.approx(variance, rel=1e-12)


@given(cases(), st.integers(1, 12))
def test_resampled_aucs_equal_those_of_the_repeated_cases(
    data: tuple[np.ndarray, np.ndarray], patients: int
) -> None:
    labels, scores = data
    patient = np.unique(np.arange(len(labels)) % patients, return_inverse=True)[1]
    samples = roc.bootstrap(labels, scores, patient, samples=5).samples
    weights = np.concatenate(list(resamples(labels == 1, patient, 5, 0)))[:5]
    for auc, counts in zip(samples, weights.astype(int), strict=True):
        expected = brute_auc(np.repeat(labels, counts), np.repeat(scores, counts))
        assert auc == pytest.approx(expected, abs=1e-12)


def test_bootstrap_agrees_with_delong_and_is_seeded() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    scores = rng.normal(size=300) + labels
    result = roc.bootstrap(labels, scores, samples=4000, seed=1)
    fit = roc.empirical(labels, scores)
    assert result.se == pytest.approx(fit.se, rel=0.05)
    assert result.ci_low == pytest.approx(fit.ci_low, abs=0.01)
    assert len(result.samples) == 4000
    again = roc.bootstrap(labels, scores, samples=4000, seed=1)
    assert np.array_equal(again.samples, result.samples)
    other_seed = roc.bootstrap(labels, scores, samples=4000, seed=2)
    assert not np.array_equal(other_seed.samples, result.samples)


@pytest.mark.parametrize(
    ("labels", "scores", "status"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], "perfect"),
        ([0, 0, 1, 1], [3, 4, 1, 2], "below_chance"),
        ([0, 0, 1, 1], [1, 1, 1, 1], "undetermined"),
        ([0, 0, 1], [1, 3, 2], "sparse"),
        ([0, 0, 1, 1], [1, 3, 2, 4], "ok"),
    ],
)
def test_degenerate_data_give_a_status_and_a_finite_interval(
    labels: list[int], scores: list[int], status: str
) -> None:
    fit = roc.empirical(labels, scores)
    assert fit.status == status
    assert 0 <= fit.ci_low < fit.ci_high <= 1
    boot = roc.bootstrap(labels, scores, samples=50)
    assert np.isfinite([boot.se, boot.ci_low, boot.ci_high]).all()
    test = roc.compare(labels, scores, scores[::-1])
    assert np.isfinite([test.se, test.z, test.p_value, test.ci_low, test.ci_high]).all()


def test_delong_is_rejected_for_repeated_patients_unless_requested() -> None:
    labels, a, b = [0, 0, 1, 1, 0, 1], [1, 2, 3, 4, 3, 1], [2, 1, 4, 3, 1, 1]
    patient = ["p", "p", "q", "q", "r", "s"]
    with pytest.raises(ValueError, match="obuchowski"):
        roc.compare(labels, a, b, clusters=patient)
    allowed = roc.compare(labels, a, b, clusters=patient, allow_repeats=True)
    assert allowed == roc.compare(labels, a, b)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [1, 2], "labels has 3 entries but scores has 2"),
        ([0, 1], [1, np.nan], "scores: 1 of 2 entries are not finite; the first is nan at index 1"),
        ([0, 1, 0], [np.inf, 1, 2], "index 0"),
        ([0, 2, 1], [1, 2, 3], "the first is 2 at index 1"),
        ([1, 1], [1, 2], "no benign"),
        ([0, 0], [1, 2], "no malignant"),
        ([], [], "no malignant"),
        ([0, 1], ["a", "b"], "numbers"),
        ([[0, 1]], [[1, 2]], "one dimension"),
    ],
)
def test_invalid_input_gives_a_one_line_error(labels: list, scores: list, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        roc.empirical(labels, scores)
    assert "\n" not in str(caught.value)


def test_invalid_ids_and_methods_are_rejected() -> None:
    labels, scores = [0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match="one id for each of the 4 scores"):
        roc.bootstrap(labels, scores, [1, 2])
    with pytest.raises(ValueError, match="1 ids are missing, the first at index 2"):
        roc.bootstrap(labels, scores, ["a", "b", None, "c"])
    with pytest.raises(ValueError, match="expected one of"):
        roc.compare(labels, scores, scores, method="wilcoxon")


def test_views_average_to_lesions_in_order_of_appearance() -> None:
    result = roc.view_to_lesion(
        [1, 0, 1, 0, 1], [0.8, 0.1, 0.4, 0.3, 0.9], ["b", "a", "b", "a", "b"], [1, 1, 1, 2, 2]
    )
    assert result.cases.tolist() == ["b", "a", "a", "b"]
    assert result.lesions.tolist() == [1, 1, 2, 2]
    assert result.labels.tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(result.scores, [0.6, 0.1, 0.3, 0.9])


def test_lesion_with_two_labels_is_rejected() -> None:
    with pytest.raises(ValueError, match="1 lesions have two labels.*lesion 7 of case c"):
        roc.view_to_lesion([1, 0, 0], [1, 2, 3], ["c", "c", "d"], [7, 7, 7])
