"""Intervals of proportions, clustered by patient."""

import numpy as np
import pytest

from mtl_jax import roc


def test_independent_cases_have_the_interval_of_wilson() -> None:
    """Wilson's interval of 2 of 4 is 0.150 to 0.850, computed by hand."""
    result = roc.proportion([1, 1, 0, 0])
    assert (result.value, result.n, result.n_patients) == (0.5, 4, 4)
    assert (result.ci_low, result.ci_high) == pytest.approx((0.15004, 0.84996), abs=1e-5)
    assert roc.proportion([1, 1, 0, 0], ["a", "b", "c", "d"]) == result
    # Of 3 of 3, the interval begins at 3 / (3 + 1.96**2).
    assert roc.proportion([1, 1, 1]).ci_low == pytest.approx(3 / (3 + 1.959964**2))


def test_equal_lesions_of_a_patient_count_once() -> None:
    hits = np.arange(60) % 3 > 0
    single = roc.proportion(hits)
    double = roc.proportion(np.repeat(hits, 2), np.repeat(np.arange(60), 2))
    assert (double.n, double.n_patients) == (120, 60)
    assert (double.ci_low, double.ci_high) == pytest.approx(
        (single.ci_low, single.ci_high), abs=2e-3
    )
    # At 1 the variance between patients is 0; the interval is that of the number of patients.
    perfect = roc.proportion([1] * 6, [0, 0, 0, 1, 1, 1])
    assert perfect.ci_low == roc.proportion([1, 1]).ci_low


def test_coverage_of_clustered_lesions() -> None:
    """30 patients of three lesions; sensitivities of patients have a beta distribution."""
    rng = np.random.default_rng(0)
    patient, true_value = np.repeat(np.arange(30), 3), 0.85
    covered = {"clustered": 0, "independent": 0}
    for _ in range(600):
        of_patient = rng.beta(true_value, 1 - true_value, 30)
        hits = rng.random(90) < of_patient[patient]
        for name, ids in (("clustered", patient), ("independent", None)):
            result = roc.proportion(hits, ids)
            covered[name] += result.ci_low <= true_value <= result.ci_high
    assert covered["clustered"] / 600 > 0.92 > 0.87 > covered["independent"] / 600


def test_sensitivity_at_a_threshold_is_clustered() -> None:
    labels, scores = [1, 1, 1, 0, 0, 0], [3, 3, 1, 2, 0, 0]
    patients = ["a", "a", "b", "c", "d", "d"]
    point = roc.at_threshold(labels, scores, 2, patients)
    sensitivity = roc.proportion([1, 1, 0], ["a", "a", "b"])
    assert point.sensitivity == pytest.approx(2 / 3) == sensitivity.value
    assert point.sensitivity_interval == (sensitivity.ci_low, sensitivity.ci_high)
    assert (
        point.sensitivity_interval[0] < roc.at_threshold(labels, scores, 2).sensitivity_interval[0]
    )


def test_no_case_or_a_missing_patient_is_an_error() -> None:
    with pytest.raises(ValueError, match="n >= 1"):
        roc.proportion([])
    with pytest.raises(ValueError, match="missing"):
        roc.proportion([1, 0], ["a", ""])
