"""tools/activation_proxy.py, tools/phantom_curve.py and their numbers in docs/phantom.md."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import activation_proxy as proxy
import phantom_curve
from activation_proxy import Features


def gaussian(n: int, shift: float, dimensions: int = 20, seed: int = 0) -> Features:
    """Return two views of each case, whose features differ by `shift` in the first dimension."""
    rng = np.random.default_rng(seed)
    case = np.arange(n) // 2
    label = case % 2
    values = rng.standard_normal((n, dimensions))
    values[:, 0] += shift * label
    return Features(values, label, case)


def test_the_jackknife_of_a_mean_has_its_standard_error() -> None:
    """With one case in each group it is s / sqrt(n), exactly."""
    rng = np.random.default_rng(1)
    data = Features(rng.standard_normal((12, 1)), np.zeros(12), np.arange(12))
    mean, low, high = proxy.jackknife(lambda d: d.values.mean(), [data], groups=12)
    half = stats.t.ppf(0.975, 11) * data.values.std(ddof=1) / np.sqrt(12)
    assert mean == pytest.approx(data.values.mean())
    assert (high - low) / 2 == pytest.approx(half)


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = np.array([0.71, 0.74, 0.69, 0.73])
    mean, low, high = proxy.mean_interval(values)
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (mean, low, high) == pytest.approx((values.mean(), *expected))


def test_the_interval_of_a_difference_adds_variances() -> None:
    a, b = np.array([[0.7], [0.67], [0.73]]), np.array([[0.6], [0.56], [0.64]])
    value, low, high = proxy.difference(a, b)
    assert (value[0], high[0] - value[0]) == pytest.approx((0.1, 0.05))
    assert value[0] - low[0] == pytest.approx(0.05)


@pytest.mark.slow
def test_the_jackknife_of_a_learning_curve_has_the_deviation_over_independent_collections() -> None:
    def curve(data: Features) -> np.ndarray:
        return proxy.learning_curve(data, (240,), draws=10)

    curves = [curve(gaussian(800, 1.0, 60, seed)) for seed in range(30)]
    widths = [
        (high - low) / 2 / stats.t.ppf(0.975, 9)
        for _, low, high in (proxy.jackknife(curve, [gaussian(800, 1.0, 60, k)]) for k in range(12))
    ]
    assert np.mean(widths) == pytest.approx(np.std(curves, ddof=1), rel=0.6)


def test_a_learning_curve_rises_to_the_best_auc() -> None:
    small, large = proxy.learning_curve(gaussian(1200, 1.5), (20, 700), draws=8)
    assert small < large - 0.02
    assert large == pytest.approx(stats.norm.cdf(1.5 / np.sqrt(2)), abs=0.03)


def test_no_case_is_learned_and_evaluated() -> None:
    """Each case has a feature of its own; a case on both sides would give an AUC near 1."""
    rng = np.random.default_rng(2)
    case = np.repeat(np.arange(120), 2)
    label = rng.integers(2, size=120)[case]
    data = Features(10.0 * (case[:, None] == np.arange(120)), label, case)
    assert proxy.transfer(data, data, 160, draws=8) == pytest.approx(0.5, abs=0.1)


def test_transfer_is_evaluated_on_the_other_collection() -> None:
    train, reversed_classes = gaussian(600, 2.0), gaussian(600, -2.0, seed=3)
    assert proxy.transfer(train, train, 200, draws=3) > 0.85
    assert proxy.transfer(train, reversed_classes, 200, draws=3) < 0.15


def test_an_invalid_option_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert phantom_curve.main(["--out", str(tmp_path), "--collections", "1"]) == 2
    assert phantom_curve.main(["--out", str(tmp_path), "--weights", "nothing"]) == 2
    assert phantom_curve.main(["--out", str(tmp_path), "--draws", "0"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3 and "--collections=1 is invalid" in errors[0]
    assert "--draws=0 is invalid" in errors[2]
