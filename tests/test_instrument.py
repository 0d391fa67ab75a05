"""tools/phantom_instrument.py: its summary, its settings, and resuming."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import phantom_instrument as instrument
from kit.command import run_command
from phantom_instrument import Row

import mtl_jax
from mtl_jax.data.sources.phantom import GENERATOR_VERSION
from mtl_jax.types import InputError

ROOT = Path(__file__).resolve().parents[1]


def rows(delta: float, count: int = 20) -> list[Row]:
    rng = np.random.default_rng(0)
    study_rows = []
    for seed in range(count):
        difference = delta + 0.05 * rng.standard_normal()
        study_rows.append(
            Row(4, "id", seed, instrument.SHARED, 0.8, 0.8 - difference, difference, 0.05)
        )
        study_rows.append(Row(4, "id", seed, instrument.UNRELATED, 0.7, 0.7, 0.0, 0.05))
    return study_rows


def test_summary_has_means_and_t_intervals() -> None:
    summary = instrument.summarize(rows(0.1))
    delta = [row.delta for row in rows(0.1) if row.shared_signal == instrument.SHARED]
    interval = stats.t.interval(0.95, 19, np.mean(delta), stats.sem(delta))
    assert summary["shared_signal 1"] == pytest.approx((np.mean(delta), *interval))
    assert summary["shared_signal 0"] == (0.0, 0.0, 0.0)
    assert summary["1 - 0, by seed"] == pytest.approx(summary["shared_signal 1"])
    one = [row for row in rows(0.1) if row.shared_signal == instrument.SHARED]
    assert instrument.summarize(one) == {"shared_signal 1": summary["shared_signal 1"]}


def test_studies_are_the_demo_and_differ_only_in_their_shared_signal(tmp_path: Path) -> None:
    shared, unrelated = (
        instrument.study_config(3, signal, tmp_path)
        for signal in (instrument.SHARED, instrument.UNRELATED)
    )
    unrelated.data.phantom.shared_signal = instrument.SHARED
    assert shared == unrelated and shared.train.match_steps
    assert shared.seed == shared.data.phantom.seed == 3
    demo = mtl_jax.load_config("mttl:demo")
    assert shared.train == demo.train and shared.model == demo.model
    assert shared.network == demo.network and shared.approaches == demo.approaches
    shared.data.phantom.seed = demo.data.phantom.seed
    assert shared.data.phantom == demo.data.phantom


def test_rows_are_kept_and_only_missing_studies_are_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[tuple[int, tuple[float, ...]]] = []

    def studies(folder: Path, seed: int, signals: Sequence[float]) -> list[Row]:
        run.append((seed, tuple(signals)))
        return [
            Row(*instrument.identity(), seed, signal, 0.7, 0.6, 0.1, 0.05) for signal in signals
        ]

    monkeypatch.setattr(instrument, "_studies", studies)
    assert len(instrument.measure(tmp_path, [1, 2], [1.0])) == 2
    assert [row.seed for row in instrument.measure(tmp_path, [1, 3])] == [1, 1, 3, 3]
    assert run == [(1, (1.0,)), (2, (1.0,)), (1, (0.0,)), (3, (1.0, 0.0))]
    measured = instrument.read(tmp_path / "studies.csv")
    assert {row.seed for row in measured} == {1, 2, 3}
    for part in (instrument.measure(tmp_path, [1, 3]), instrument.measure(tmp_path, [1, 2], [1.0])):
        instrument.draw(part, tmp_path / "figure.svg")
        assert (tmp_path / "figure.svg").read_bytes().startswith(b"<?xml")


def test_studies_of_other_settings_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "studies.csv"
    path.write_text(instrument._text(rows(0.1, 2)), encoding="utf-8")
    assert instrument.read(path)[0][:4] == (4, "id", 0, 1.0)
    with pytest.raises(InputError, match="other settings: choose another --out"):
        instrument.measure(tmp_path, [0, 1])
    path.write_text("seed,mttl\n0,0.7\n", encoding="utf-8")
    with pytest.raises(InputError, match="the columns are not those of this version"):
        instrument.measure(tmp_path, [0, 1])
    assert run_command(instrument, "--out", path) == 2
    assert run_command(instrument, "--out", tmp_path, "--figure", path / "x.svg") == 2
    load, before = mtl_jax.load_config, instrument.identity()

    def longer(name: str) -> ConfigDict:
        c = load(name)
        c.train.epochs += 1
        return c

    monkeypatch.setattr(mtl_jax, "load_config", longer)
    assert instrument.identity()[0] == before[0] and instrument.identity()[1] != before[1]


@pytest.mark.parametrize(("a", "sign"), [("mttl", 1), ("sttl", -1)])
def test_the_difference_is_positive_if_multi_task_learning_is_better(a: str, sign: int) -> None:
    aucs = {"mttl": 0.72, "sttl": 0.61}
    b = "sttl" if a == "mttl" else "mttl"
    row = {"a": a, "b": b, "auc_a": aucs[a], "auc_b": aucs[b], "delta": sign * 0.11, "se": 0.03}
    row |= {"task": "sfm", "unit": "lesion", "method": "obuchowski"}
    others = [row | {"unit": "view"}, row | {"method": "bootstrap"}, row | {"task": "dm"}]
    results = {"target": "sfm", "comparisons": [*others, row]}
    assert instrument._row(5, 1.0, results) == Row(
        *instrument.identity(), 5, 1.0, 0.72, 0.61, pytest.approx(0.11), 0.03
    )


def signed(value: float, low: float, high: float) -> str:
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "−")


def signed_mean(values: Sequence[float] | np.ndarray) -> str:
    """Return the mean with its 95% interval (t)."""
    mean = np.mean(values)
    return signed(mean, *stats.t.interval(0.95, len(values) - 1, mean, stats.sem(values)))


def test_the_pages_have_the_measured_differences() -> None:
    page = (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
    measured = instrument.read(ROOT / "docs" / "phantom_instrument.csv")
    by_signal = {
        signal: np.array([row.delta for row in measured if row.shared_signal == signal])
        for signal in (instrument.SHARED, instrument.UNRELATED)
    }
    assert [row.seed for row in measured[::2]] == list(instrument.SEEDS)
    assert {row.generator for row in measured} == {GENERATOR_VERSION}
    assert (by_signal[instrument.SHARED] > 0).all()
    assert (by_signal[instrument.UNRELATED] < 0).all()
    for values in (
        *by_signal.values(),
        by_signal[instrument.SHARED] - by_signal[instrument.UNRELATED],
    ):
        assert f"| {signed_mean(values)} |" in page
    demo = instrument.read(ROOT / "docs" / "phantom_demo_seeds.csv")
    assert [row.seed for row in demo] == list(range(10))
    assert {row[:2] for row in demo} == {row[:2] for row in measured}
    for row in demo:
        text = signed(row.delta, row.delta - 1.96 * row.se, row.delta + 1.96 * row.se)
        assert f"| {row.seed} | {row.mttl:.3f} | {row.sttl:.3f} | {text} |" in page
    delta, sttl = (signed_mean([getattr(row, name) for row in demo]) for name in ("delta", "sttl"))
    sttl = sttl.replace("+", "")
    assert f"The mean difference is {delta} and the mean AUC of STTL {sttl}, with" in page
    assert ", ".join(f"{row.delta:+.3f}" for row in demo) in (
        (ROOT / "README.md").read_text(encoding="utf-8").replace("\n", " ")
    )


def read_times(folder: Path, approach: str, signal: int) -> str:
    path = folder / "seed-3" / f"shared-{signal}" / "runs"
    return next(path.glob(f"{approach}-*/timing.json")).read_text(encoding="utf-8")


@pytest.mark.slow
def test_both_studies_of_a_seed_share_the_single_task_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = instrument.study_config

    def small(seed: int, shared_signal: float, cache: Path) -> ConfigDict:
        c = config(seed, shared_signal, cache)
        c.data.phantom.cases, c.data.phantom.target_cases, c.train.epochs = 6, 20, 1
        c.data.phantom.test_fraction = 0.5
        return c

    monkeypatch.setattr(instrument, "study_config", small)
    shared, unrelated = instrument.measure(tmp_path, [3])
    assert (shared.shared_signal, unrelated.shared_signal) == (1.0, 0.0)
    assert shared.sttl == unrelated.sttl
    for row in (shared, unrelated):
        assert row.delta == pytest.approx(row.mttl - row.sttl)
    folders = [tmp_path / "seed-3" / f"shared-{signal}" / "runs" for signal in (0, 1)]
    for approach, equal in (("sttl", True), ("mttl", False)):
        first, second = (next(folder.glob(f"{approach}-*/scores.csv")) for folder in folders)
        assert (first.read_bytes() == second.read_bytes()) == equal
    assert read_times(tmp_path, "sttl", 0) == read_times(tmp_path, "sttl", 1)  # copied, not trained
    assert not (tmp_path / "cache-3").exists()
