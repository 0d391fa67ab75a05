"""The tests reject true nulls as often as they say: slow, by simulation."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_jax import roc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import bench_roc


def test_the_batched_study_does_what_compare_does() -> None:
    rng = np.random.default_rng(0)
    sets = [bench_roc.simulate(rng, 60, 0.8, 2, 2) for _ in range(6)]
    rejected, held, _ = bench_roc.calibrate_proper(sets, 0.8)
    tests = [roc.compare(t, a, b, "proper", patient) for t, (a, b), patient in sets]
    assert rejected == np.mean([test.p_value < 0.05 for test in tests])
    fits = [roc.proper(t, a) for t, (a, _), _ in sets]
    assert held == np.mean([fit.ci_low <= 0.8 <= fit.ci_high for fit in fits])


@pytest.mark.slow
@pytest.mark.parametrize(("lesions", "auc", "views", "per_patient"), [
    (100, 0.75, 1, 1), (100, 0.9, 2, 3), (400, 0.75, 4, 1), (400, 0.9, 2, 2),
])  # fmt: skip
def test_type_1_error_and_coverage(lesions: int, auc: float, views: int, per_patient: int) -> None:
    nulls = {"delong": 2000, "obuchowski": 2000, "bootstrap": 500, "proper": 500}
    result = bench_roc.calibrate(lesions, auc, views, per_patient, nulls, seed=1)
    for method in ("obuchowski", "bootstrap", "proper"):
        rejected, held, count = result[method]
        # 0.05, with 0.012 for small samples and three Monte Carlo standard errors
        assert abs(rejected - 0.05) < 0.012 + 3 * np.sqrt(0.05 * 0.95 / count), method
        if method == "bootstrap" or (method == "proper" and views == per_patient == 1):
            assert held > 0.95 - 0.02 - 3 * np.sqrt(0.05 * 0.95 / count), method
    if views > 1:  # the wrong method's failure
        assert result["delong"][0] > 0.08
