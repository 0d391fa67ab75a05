"""tools/phantom_instrument.py: its summary, its settings and (slow) its measurements."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import phantom_instrument as instrument
from phantom_instrument import Row


def rows(delta: float, p_values: np.ndarray) -> list[Row]:
    rng = np.random.default_rng(0)
    study_rows = []
    for seed, p in enumerate(p_values):
        difference = delta + 0.05 * rng.standard_normal()
        study_rows.append(
            Row(seed, instrument.SHARED, 0.8, 0.8 - difference, difference, 0.05, 0.01)
        )
        study_rows.append(Row(seed, instrument.UNRELATED, 0.7, 0.7, 0.0, 0.05, float(p)))
    return study_rows


def test_summary_detects_a_difference_and_non_uniform_p_values() -> None:
    uniform = (np.arange(20) + 0.5) / 20
    summary = instrument.summarize(rows(0.1, uniform))
    mean, low, high = summary.shared
    # 20 differences of standard deviation 0.05: half-width t(19) 0.05 / sqrt(20) = 0.0234.
    assert summary.n == 20 and mean == pytest.approx(0.1, abs=0.03)
    assert (high - low) / 2 == pytest.approx(0.0234, rel=0.35)
    # The Kolmogorov-Smirnov distance of 20 equally spaced p-values is 1/40.
    assert summary.ks_statistic == pytest.approx(1 / 40) and summary.ks_p_value > 0.99
    assert summary.gain == pytest.approx(
        summary.shared
    )  # each difference without shared signal is 0
    assert instrument.summarize(rows(0.1, uniform**3)).ks_p_value < 0.01


def test_studies_differ_only_in_their_shared_signal(tmp_path: Path) -> None:
    shared, unrelated = (
        instrument.study_config(3, signal, tmp_path)
        for signal in (instrument.SHARED, instrument.UNRELATED)
    )
    unrelated.data.phantom.shared_signal = instrument.SHARED
    assert shared == unrelated and shared.train.match_steps
    assert shared.seed == shared.data.phantom.seed == 3


@pytest.mark.slow
def test_shared_cues_are_better_than_unrelated_labels_and_null_p_values_are_uniform(
    tmp_path: Path,
) -> None:
    """At 1 the interval of the difference includes zero (docs/phantom.md)."""
    summary = instrument.summarize(instrument.measure(tmp_path, instrument.SEEDS))
    assert summary.n == len(instrument.SEEDS) >= 10
    assert summary.shared[2] > 0 and summary.gain[1] > 0
    assert summary.ks_p_value > 0.05 and summary.unrelated[1] <= 0 <= summary.unrelated[2]
