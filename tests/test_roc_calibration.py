"""Type I error of the tests and coverage of the intervals in simulations."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_jax import roc
from mtl_jax.roc.bootstrap import resampled_aucs, resamples
from mtl_jax.roc.compare import METHODS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import bench_roc


def test_batched_simulation_equals_compare() -> None:
    rng = np.random.default_rng(0)
    sets = [bench_roc.simulate(rng, 60, 0.8, 2, 2) for _ in range(12)]
    results = bench_roc.calibrate_empirical(sets, 0.8)
    results["proper"] = bench_roc.calibrate_proper(sets, 0.8)
    for method in METHODS:
        tests = [
            roc.compare(t, a, b, method, patient, allow_repeats=True, samples=400)
            for t, (a, b), patient in sets
        ]
        assert results[method][0] == sum(test.p_value < 0.05 for test in tests)
    for method, fit in (
        ("delong", lambda t, a, _: roc.empirical(t, a)),
        ("bootstrap", lambda t, a, patient: roc.bootstrap(t, a, patient, samples=400)),
        ("proper", lambda t, a, _: roc.proper(t, a)),
    ):
        intervals = [fit(t, a, patient) for t, (a, _), patient in sets]
        assert results[method][1] == sum(i.ci_low <= 0.8 <= i.ci_high for i in intervals)


def test_aucs_from_pair_counts_equal_those_of_the_resamples() -> None:
    truth, (scores, _), patient = bench_roc.simulate(np.random.default_rng(1), 30, 0.8, 3, 2)
    weights = next(resamples(truth, patient, 50, seed=3))
    patient_weights = weights[:, np.unique(patient, return_index=True)[1]].astype(np.float32)
    np.testing.assert_allclose(
        bench_roc._aucs(patient_weights, truth, scores, patient),
        resampled_aucs(truth, [scores], patient, 50, seed=3)[0],
        rtol=1e-12,
    )


@pytest.mark.slow
@pytest.mark.parametrize("cell", bench_roc.CELLS)
def test_type_1_error_and_coverage(cell: tuple[int, float, int, int]) -> None:
    nulls = bench_roc.NULLS
    views, per_patient = cell[2:]
    rates = {
        method: (rejected / nulls, None if covered is None else covered / nulls)
        for method, (rejected, covered) in bench_roc.calibrate(*cell).items()
    }
    noise = 3 * np.sqrt(0.05 * 0.95 / nulls)
    for method in ("obuchowski", "bootstrap", "proper"):
        type_1_error, coverage = rates[method]
        assert abs(type_1_error - 0.05) < 0.012 + noise, method  # 0.012 for small samples
        if method == "bootstrap" or (method == "proper" and views == per_patient == 1):
            assert coverage > 0.95 - 0.02 - noise, method
    if views > 1:  # DeLong's test ignores the clusters
        assert rates["delong"][0] > 0.08
