"""Folds by case on many random data sets: no case in two folds, proportions kept."""

import numpy as np
import pytest

from mtl_jax.data import folds
from mtl_jax.types import InputError


def test_a_thousand_random_data_sets() -> None:
    rng = np.random.default_rng(1)
    for trial in range(1000):
        count = int(rng.integers(2, 8))
        malignant, benign = rng.integers(count, 40, 2)
        truth = [1] * malignant + [0] * benign
        cases = {f"p{i:03d}": t for i, t in enumerate(rng.permutation(truth).tolist())}
        parts = folds.partition(cases, count, trial, 1, "made-up")
        folds.reject_leaks({str(i): part for i, part in enumerate(parts)})
        assert sorted(case for part in parts for case in part) == sorted(cases)
        sizes = [len(part) for part in parts]
        positive = [sum(cases[case] for case in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert max(positive) - min(positive) <= 1
        assert min(positive) >= 1 and all(p < s for p, s in zip(positive, sizes, strict=True))


def test_hold_out_keeps_proportions_and_both_classes() -> None:
    rng = np.random.default_rng(2)
    for trial in range(1000):
        malignant, benign = rng.integers(2, 60, 2)
        cases = {f"m{i}": 1 for i in range(malignant)} | {f"b{i}": 0 for i in range(benign)}
        fraction = float(rng.uniform(0.05, 0.95))
        test = folds.hold_out(cases, fraction, trial, "made-up")
        for label, size in ((1, malignant), (0, benign)):
            chosen = sum(cases[case] == label for case in test)
            assert 1 <= chosen < size
            assert abs(chosen - fraction * size) <= 1


def test_partitions_depend_on_the_seed_and_not_on_the_input_order() -> None:
    cases = {f"p{i}": i % 2 for i in range(40)}
    again = dict(reversed(cases.items()))
    assert folds.partition(cases, 4, 5, 1, "x") == folds.partition(again, 4, 5, 1, "x")
    assert folds.partition(cases, 4, 5, 1, "x") != folds.partition(cases, 4, 6, 1, "x")


def test_neighbouring_seeds_and_purposes_share_no_permutation() -> None:
    """100 partitions for each of 10 seeds, and as many test sets and subsets, all differ."""
    cases = {f"p{i:02d}": i % 2 for i in range(40)}
    result = [
        folds.partition(cases, 2, seed, split, "x")[0] for seed in range(10) for split in range(100)
    ]
    result += [folds.hold_out(cases, 0.5, seed, "x") for seed in range(10)]
    result += [
        folds.subset(cases, 20, seed, number, "x") for seed in range(10) for number in range(100)
    ]
    assert len({tuple(part) for part in result}) == len(result) == 2010


def test_case_with_both_kinds_is_malignant() -> None:
    assert folds.case_labels(["b", "a", "b"], [0, 0, 1]) == {"a": 0, "b": 1}


def test_too_few_cases_for_the_folds() -> None:
    with pytest.raises(InputError, match="3 malignant cases for 4 folds.*config.folds to 3"):
        folds.partition({f"p{i}": int(i < 3) for i in range(30)}, 4, 0, 1, "few")


def test_a_leak_is_rejected_and_named() -> None:
    with pytest.raises(InputError, match="'p2' is in fold 1 and in fold 2"):
        folds.reject_leaks({"fold 1": ["p1", "p2"], "fold 2": ["p3", "p2"]})
