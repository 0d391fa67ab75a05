"""Who learns and who is tested, as folds.json records it before any training."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mtl_jax.data import folds
from mtl_jax.nouns import InputError, RoiSet, Run


class Split(NamedTuple):
    """Case ids of the target collection, and what was decided.

    `folds` partition the cases of `train` in a cross-validation and are empty otherwise; `test` is
    the independent test set, never learned.
    """

    target: str
    train: list[str]
    test: list[str]
    folds: list[list[str]]
    rule: str


def split_target(
    rois: RoiSet, study: str, fold_count: int, test_fraction: float, seed: int
) -> Split:
    """Splits the cases of the target collection by its official split, else at random by case."""
    index = rois.index
    official = _cases_with(index, "test")
    cases = folds.case_labels(index["case_id"], index["label"])
    if len(set(cases.values())) < 2:
        kind = "malignant" if 1 in cases.values() else "benign"
        raise InputError(
            f"collection {rois.name}: all {len(cases)} cases are {kind}; config.data.target must "
            "name a collection with both classes"
        )
    if official:
        train = _cases_with(index, "train") | _cases_with(index, "")
        test, rule = sorted(official), "the collection's own test set"
    elif test_fraction > 0:
        test = folds.hold_out(cases, test_fraction, seed, rois.name)
        train = set(cases) - set(test)
        rule = f"{test_fraction:g} of the cases at random, malignant and benign apart, seed {seed}"
    else:
        train, test, rule = set(cases), [], "no test set"
    folds.refuse_leaks({"the training set": sorted(train), "the test set": test})
    if study == "test" and not test:
        raise InputError(
            f"collection {rois.name} marks no test set and config.data.test_fraction is 0; give "
            "config.data.test_fraction a value, or set config.study to 'cross_validation'"
        )
    parts: list[list[str]] = []
    if study == "cross_validation":
        learned = {case: cases[case] for case in sorted(train)}
        parts = folds.deal(learned, fold_count, seed, rois.name)
        folds.refuse_leaks({f"fold {i + 1}": part for i, part in enumerate(parts)})
        rule += f"; {fold_count} folds at random, malignant and benign apart, seed {seed}"
    return Split(rois.name, sorted(train), test, parts, rule)


def members(
    run: Run, collections: Mapping[str, RoiSet], split: Split
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Rows of each collection that this run learns, and rows that it scores.

    The target: all folds but the one held out, which is scored; or all training cases, and the test
    set is scored. The others: added whole (section 3.3) but for their own test sets, which are
    never learned, and scored where the target's is.
    """
    learned, scored = {}, {}
    for task in run.tasks:
        index = collections[task].index
        held_out = _cases_with(index, "test")
        if task == split.target:
            held_out = set(split.test if run.fold is None else split.folds[run.fold])
            learned_cases = set(split.train) - held_out
        else:
            learned_cases = set(map(str, index["case_id"])) - held_out
            held_out = held_out if run.fold is None else set()
        learned[task] = np.flatnonzero(np.isin(index["case_id"], sorted(learned_cases)))
        scored[task] = np.flatnonzero(np.isin(index["case_id"], sorted(held_out)))
    return learned, scored


def _cases_with(index: Mapping[str, np.ndarray], mark: str) -> set[str]:
    return set(map(str, index["case_id"][index["split"] == mark]))
