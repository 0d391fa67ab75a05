"""Random and degenerate input gives no crash, no hang, no NaN and no warning."""

import time

import numpy as np
import pytest

from mtl_jax import roc
from mtl_jax.roc.degenerate import classify_data
from mtl_jax.roc.search import aucs_near
from mtl_jax.roc.truth_runs import TruthRuns, truth_runs_of_scores

STATUSES = {
    "ok",
    "boundary",
    "perfect",
    "undetermined",
    "edge_only",
    "below_chance",
    "sparse",
    "not_converged",
}
KINDS = (
    "normal",
    "ties",
    "constant",
    "separated",
    "nearly separated",
    "reversed",
    "one outlier",
    "skewed",
    "extreme values",
    "few cases",
    "one malignant",
    "one class",
    "not finite",
    "invalid label",
    "unequal lengths",
)
REJECTED = KINDS[-4:]


def make_input(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores of one of KINDS."""
    n = int(rng.choice([4, 8, 20, 60, 150]))
    if kind == "few cases":
        n = int(rng.integers(2, 5))
    labels = rng.permutation(np.arange(n) < max(1, int(n * rng.uniform(0.1, 0.9)))).astype(int)
    if kind == "one malignant":
        labels = (np.arange(n) == 0).astype(int)
    labels[:2] = rng.permutation(2)
    scores = rng.normal(size=n) * np.exp(rng.normal() * labels) + abs(rng.normal()) * labels
    if kind == "ties":
        scores = np.round(scores * rng.choice([0.5, 1.0, 2.0]))
    elif kind == "constant":
        scores = np.full(n, rng.choice([0.0, -1e300, 5e-324]))
    elif kind in ("separated", "reversed"):
        scores = rng.random(n) + 2.0 * labels * (1 if kind == "separated" else -1)
    elif kind == "nearly separated":
        scores = rng.random(n) + 0.9 * labels
    elif kind == "one outlier":
        scores = rng.random(n) + 2.0 * labels
        scores[rng.integers(n)] *= -1.0
    elif kind == "skewed":
        scores = np.exp(3.0 * scores)
    elif kind == "extreme values":
        scores = scores * rng.choice([1e-310, 1e-160, 1e150, 1e300])
    elif kind == "one class":
        labels[:] = rng.integers(2)
    elif kind == "not finite":
        scores[rng.integers(n)] = rng.choice([np.nan, np.inf, -np.inf])
    elif kind == "invalid label":
        labels[rng.integers(n)] = rng.choice([-1, 2, 7])
    elif kind == "unequal lengths":
        scores = scores[:-1]
    return labels, scores


def check_fit(fit: roc.Empirical | roc.Proper | roc.Conventional) -> None:
    assert fit.status in STATUSES
    assert np.isfinite([fit.auc, fit.se, fit.ci_low, fit.ci_high]).all(), fit
    assert 0 <= fit.ci_low <= fit.auc <= fit.ci_high <= 1, fit
    assert fit.se >= 0


def check_test(test: roc.Comparison) -> None:
    assert test.status in STATUSES
    numbers = [test.delta, test.se, test.z, test.p_value, test.ci_low, test.ci_high]
    assert np.isfinite([*numbers, test.correlation]).all(), test
    assert -1 <= test.ci_low <= test.delta <= test.ci_high <= 1 and 0 <= test.p_value <= 1


def check_random_input(rng: np.random.Generator, fit_curves: bool) -> TruthRuns | None:
    """Check the functions on one random input; return its truth runs if a curve can be fitted."""
    kind = str(rng.choice(KINDS))
    labels, scores = make_input(rng, kind)
    if kind in REJECTED:
        for function in (roc.empirical, roc.proper, roc.conventional):
            with pytest.raises(ValueError):
                function(labels, scores)
        return None
    start = time.process_time()
    check_fit(roc.empirical(labels, scores))
    shuffled = rng.permutation(scores)
    patient = rng.integers(0, max(1, len(labels) // 2), len(labels))
    check_test(roc.compare(labels, scores, shuffled))
    check_test(roc.compare(labels, scores, shuffled, "obuchowski", patient))
    if fit_curves:
        fit = roc.proper(labels, scores)
        check_fit(fit)
        assert np.isfinite(fit.curve(5)).all() and np.isfinite(fit.partial_auc(0.1, 0.4))
        check_fit(roc.conventional(labels, scores))
        check_test(roc.compare(labels, scores, shuffled, "proper", patient))
        boot = roc.bootstrap(labels, scores, patient, "proper", samples=5)
        assert np.isfinite([boot.se, boot.ci_low, boot.ci_high]).all()
    assert time.process_time() - start < 5
    runs = truth_runs_of_scores(labels == 1, scores)
    return runs if classify_data(runs)[0] == "regular" else None


def test_twenty_random_inputs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        check_random_input(rng, fit_curves=True)


def test_large_input_is_quick() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 100_000)
    scores = rng.normal(size=100_000) + labels
    start = time.process_time()
    check_fit(roc.proper(labels, scores))
    check_test(roc.compare(labels, scores, -scores))
    assert time.process_time() - start < 20  # a second or two on an idle machine


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_thousand_random_inputs(seed: int) -> None:
    """Check the empirical functions on each input, the fit on batches of inputs, and every public
    function on each hundredth input."""
    rng = np.random.default_rng([2, seed])
    batch: list[TruthRuns] = []
    for i in range(10_000):
        runs = check_random_input(rng, fit_curves=i % 100 == 0)
        batch += [] if runs is None else [runs]
        if len(batch) >= 500 or i == 9_999:
            start = np.cumsum([0, *(len(r.benign) for r in batch)])
            joined_runs = TruthRuns(
                np.concatenate([r.benign for r in batch]),
                np.concatenate([r.malignant for r in batch]),
                start,
            )
            aucs = aucs_near(joined_runs, 1.0, -0.1)
            assert np.isfinite(aucs).all() and aucs.min() >= 0.5 - 1e-9 and aucs.max() <= 1
            batch = []
