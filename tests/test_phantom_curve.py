"""tools/activation_proxy.py, tools/phantom_curve.py and their numbers in docs/phantom.md."""

import csv
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import activation_proxy as proxy
import phantom_curve
from activation_proxy import Features
from kit.command import run_command

from mtl_jax.data.sources.phantom import GENERATOR_VERSION
from mtl_jax.types import InputError

ROOT = Path(__file__).resolve().parents[1]


TITLES = {"imagenet": "ImageNet", "shipped": "shipped", "imagenet - shipped": "ImageNet − shipped"}


def read_rows(name: str) -> list[dict[str, str]]:
    with (ROOT / "docs" / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def interval(row: dict[str, str], columns: Sequence[str] = phantom_curve.BOUNDS) -> str:
    value, low, high = (row[column] for column in columns)
    return f"{value} ({low} to {high})".replace("-", "−")


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
@pytest.mark.parametrize("size", [30, 240])
def test_the_jackknife_of_a_learning_curve_has_the_deviation_over_independent_collections(
    size: int,
) -> None:
    """About: few collections, and the jackknife errs on the large side."""

    def curve(data: Features) -> np.ndarray:
        return proxy.learning_curve(data, (size,), draws=10)

    def collection(seed: int) -> Features:
        data = gaussian(800, 1.0, 60, seed)
        return data._replace(case=np.char.add(f"{seed} ", data.case.astype(str)))

    curves = [curve(collection(seed)) for seed in range(30)]
    widths = [
        (high - low) / 2 / stats.t.ppf(0.975, 9)
        for _, low, high in (proxy.jackknife(curve, [collection(k)]) for k in range(8))
    ]
    assert np.mean(widths) == pytest.approx(np.std(curves, ddof=1), rel=0.45)


def test_draws_are_independent_of_each_other() -> None:
    """Two random thirds of the cases share a third of their cases."""
    case = np.array([f"P_{number:05d}" for number in range(600)])
    held_out = [set(proxy._split(case, seed)[0]) for seed in range(20)]
    assert np.mean([len(one) for one in held_out]) == pytest.approx(200, abs=10)
    shared = [len(a & b) / len(a) for a, b in itertools.combinations(held_out, 2)]
    assert np.mean(shared) == pytest.approx(1 / 3, abs=0.02)
    assert min(shared) > 0.2 and max(shared) < 0.47


def test_the_draw_of_a_case_does_not_depend_on_the_others() -> None:
    case = np.array([f"case {number}" for number in range(90)])
    held_out, order = proxy._split(case, 4)
    fewer = [name for name in case if int(name[5:]) % 3]
    assert list(proxy._split(np.array(fewer), 4)[0]) == [n for n in held_out if n in fewer]
    assert list(proxy._split(np.array(fewer), 4)[1]) == [n for n in order if n in fewer]
    assert set(held_out) | set(order) == set(case) and not set(held_out) & set(order)


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


def test_too_few_views_are_rejected() -> None:
    with pytest.raises(InputError, match="90 views are too few to train on 200"):
        proxy.learning_curve(gaussian(90, 1.0), (30, 200), draws=1)


def two_weights(shift: float, noise: float, n: int = 600, seed: int = 0) -> Features:
    """Return features of two sets of weights, of which the second are the first with noise."""
    data = gaussian(n, shift, seed=seed)
    other = data.values + noise * np.random.default_rng(9).standard_normal(data.values.shape)
    return data._replace(values=np.stack([data.values, other], 1))


def test_curves_are_of_each_set_of_weights_and_their_difference() -> None:
    data = two_weights(1.5, 2.0)
    first, second, difference = phantom_curve.curves(data, (60, 240), draws=4)
    alone = proxy.learning_curve(data._replace(values=data.values[:, 0]), (60, 240), draws=4)
    np.testing.assert_array_equal(first, alone)
    np.testing.assert_allclose(difference, first - second)
    assert (difference > 0.05).all()


def test_transfer_has_training_sets_in_rows_and_test_sets_in_columns() -> None:
    """The classes of the second collection are reversed."""
    sets = [gaussian(500, 2.0), gaussian(500, -2.0, seed=3)]
    auc, difference = phantom_curve.transfer(sets, draws=2)
    assert (np.diag(auc) > 0.85).all() and auc[0, 1] < 0.15 and auc[1, 0] < 0.15
    assert difference[0, 1] == pytest.approx(auc[1, 1] - auc[0, 1])
    assert difference[0, 0] == difference[1, 1] == 0


def test_rows_have_their_source_and_sign() -> None:
    films, harder = two_weights(1.8, 1.0), two_weights(1.0, 1.0, 1100, seed=4)
    phantoms = [harder, two_weights(1.0, 1.0, 1100, seed=5)]
    rows = phantom_curve.measure_curves(["one", "two"], [films], phantoms, draws=1)
    auc = {row[:3]: float(row[3]) for row in rows}
    assert max(size for source, _, size in auc if source == "films") == 240  # of 400 at most
    for name in ("one", "two", "one - two"):
        expected = auc["phantom", name, 240] - auc["films", name, 240]
        assert auc["phantom - films", name, 240] == pytest.approx(expected, abs=0.0011)
    assert auc["phantom - films", "one", 240] < 0 < auc["films", "one - two", 240]


def test_an_invalid_option_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run_command(phantom_curve, "--out", tmp_path, "--collections", "1") == 2
    assert run_command(phantom_curve, "--out", tmp_path, "--weights", "nothing") == 2
    assert run_command(phantom_curve, "--out", tmp_path, "--draws", "0") == 2
    for name in ("random", "analytic"):  # have not all convolutions
        assert run_command(phantom_curve, "--out", tmp_path, "--weights", name) == 2
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert run_command(phantom_curve, "--out", tmp_path / "file" / "x") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 6 and "--collections=1 is invalid" in errors[0]
    assert "--draws=0 is invalid" in errors[2]
    assert all("invalid: expected AlexNet weights" in error for error in errors[3:5])
    assert "a file has that name" in errors[5]  # before anything is measured


def test_the_phantom_is_within_0_03_of_films_at_every_size_in_the_measured_curve() -> None:
    rows = read_rows("phantom_curve.csv")
    assert {row["generator"] for row in rows} == {str(GENERATOR_VERSION), ""}  # films have none
    rows = [row for row in rows if row["weights"] == "imagenet"]
    auc = {(row["source"], row["training views"]): float(row["auc"]) for row in rows}
    sizes = [size for source, size in auc if source == "films"]
    assert list(map(int, sizes)) == list(phantom_curve.SIZES)
    assert max(abs(auc["films", size] - auc["phantom", size]) for size in sizes) < 0.03


def test_the_page_has_the_rows_of_the_measured_curves() -> None:
    page = (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
    rows = read_rows("phantom_curve.csv")
    text = {(row["weights"], row["training views"], row["source"]): interval(row) for row in rows}
    for name, size in dict.fromkeys(key[:2] for key in text):
        cells = [text[name, size, source] for source in ("phantom", "films", "phantom - films")]
        assert f"| {TITLES[name]} | {size} | {' | '.join(cells)} |" in page


def test_the_page_has_the_rows_of_the_measured_transfer() -> None:
    page = (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
    rows = read_rows("phantom_transfer.csv")
    assert {row["generator"] for row in rows} == {str(GENERATOR_VERSION), ""}
    assert len(rows) == 2 * (4 + 9)
    for row in rows:
        difference = interval(row, ("same - other", "difference low", "difference high"))
        cells = [TITLES[row["weights"]], f"`{row['trained on']}`", f"`{row['tested on']}`"]
        cells += [interval(row), difference if row["same - other"] else ""]
        assert f"| {' | '.join(cells)} |".replace("|  |", "| |") in page, row


def test_the_page_of_weights_has_the_same_numbers() -> None:
    page = (ROOT / "docs" / "transfer.md").read_text(encoding="utf-8")
    rows = read_rows("phantom_curve.csv")
    text = {(row["weights"], row["training views"], row["source"]): interval(row) for row in rows}
    for views, name in itertools.product(("58", "690"), TITLES):
        cells = [text[name, views, source] for source in ("phantom", "films", "phantom - films")]
        assert f"| {views} | {TITLES[name]} | {' | '.join(cells)} |" in page
