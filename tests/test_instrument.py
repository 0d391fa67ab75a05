"""The pipeline as an instrument: what it makes of its studies, and (slow) what it measures."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import phantom_instrument as instrument
from phantom_instrument import Row


def rows(delta: float, p_values: np.ndarray) -> list[Row]:
    rng = np.random.default_rng(0)
    found = []
    for seed, p in enumerate(p_values):
        at = delta + 0.05 * rng.standard_normal()
        found.append(Row(seed, instrument.SHARED, 0.8, 0.8 - at, at, 0.05, 0.01))
        found.append(Row(seed, instrument.UNRELATED, 0.7, 0.7, 0.0, 0.05, float(p)))
    return found


def test_summary_tells_a_difference_and_p_values_that_are_not_uniform() -> None:
    even = (np.arange(20) + 0.5) / 20
    found = instrument.summarize(rows(0.1, even))
    middle, low, high = found.shared
    # 20 differences of standard deviation 0.05: half-width t(19) 0.05 / sqrt(20) = 0.0234.
    assert found.n == 20 and middle == pytest.approx(0.1, abs=0.03)
    assert (high - low) / 2 == pytest.approx(0.0234, rel=0.35)
    # Even steps lie half a step, 1/40, from uniform.
    assert found.ks_statistic == pytest.approx(1 / 40) and found.ks_p_value > 0.99
    assert found.gain == pytest.approx(found.shared)  # the difference at 0 is 0 in each
    assert instrument.summarize(rows(0.1, even**3)).ks_p_value < 0.01


def test_studies_differ_in_their_shared_signal_alone(tmp_path: Path) -> None:
    one, other = (
        instrument.study_config(3, signal, tmp_path)
        for signal in (instrument.SHARED, instrument.UNRELATED)
    )
    other.data.phantom.shared_signal = instrument.SHARED
    assert one == other and one.train.match_steps and one.seed == one.data.phantom.seed == 3


@pytest.mark.slow
def test_shared_cues_help_on_average_and_p_values_of_unrelated_labels_are_uniform(
    tmp_path: Path,
) -> None:
    found = instrument.summarize(instrument.measure(tmp_path, instrument.SEEDS))
    assert found.n == len(instrument.SEEDS) >= 10
    assert found.shared[0] > 0 and found.gain[1] > 0
    assert found.ks_p_value > 0.05 and found.unrelated[1] <= 0 <= found.unrelated[2]
