"""Folds and the test set: random partitions of cases, stratified by class (paper, section 2.4).

A case is malignant if any of its lesions is. Every view and lesion of a case stays with it.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from enum import IntEnum

import numpy as np

from mtl_jax.types import InputError


class Stream(IntEnum):
    """The purpose of a random permutation of cases: each has its own random stream."""

    TEST_SET = 0
    FOLDS = 1
    SUBSET = 2
    INNER_SET = 3
    LABELS = 4


def case_labels(case_ids: Iterable[str], labels: Iterable[int]) -> dict[str, int]:
    """Return {case: 1 if any of its ROIs is malignant, else 0}, in sorted order of the ids."""
    cases: dict[str, int] = {}
    for case, label in zip(case_ids, labels, strict=True):
        cases[str(case)] = max(cases.get(str(case), 0), int(label))
    return {case: cases[case] for case in sorted(cases)}


def partition(
    cases: Mapping[str, int], count: int, split_seed: int, split: int, collection: str
) -> list[list[str]]:
    """Return `count` folds of case ids, of even sizes and classes, for partition number `split`."""
    folds: list[list[str]] = [[] for _ in range(count)]
    assigned = 0
    for label, word in ((1, "malignant"), (0, "benign")):
        group = _shuffled(cases, label, split_seed, Stream.FOLDS, split)
        if len(group) < count:
            fewer = f"set config.folds to {len(group)} or fewer, or " if len(group) > 1 else ""
            raise InputError(
                f"collection {collection}: {len(group)} {word} cases for {count} folds; each fold "
                f"needs one of each class: {fewer}add cases"
            )
        for case in group:
            # The benign cases continue at the fold after the last malignant case, so that the
            # sizes of the folds are even, too.
            folds[assigned % count].append(case)
            assigned += 1
    return [sorted(fold) for fold in folds]


def hold_out(
    cases: Mapping[str, int],
    fraction: float,
    split_seed: int,
    collection: str,
    include: Set[str] = frozenset(),
    avoid: Set[str] = frozenset(),
) -> list[str]:
    """Return the test cases: `fraction` of each class, rounded, at least one and never all.

    All cases of `include` are test cases, even if they are more than the fraction. Cases of `avoid`
    become test cases only if a class would have none otherwise.
    """
    test: list[str] = []
    for label, word in ((1, "malignant"), (0, "benign")):
        group = _shuffled(cases, label, split_seed, Stream.TEST_SET)
        if len(group) < 2:
            raise InputError(
                f"collection {collection}: {len(group)} {word} cases cannot be split into training "
                "and test; at least 2 of each class are needed"
            )
        count = min(max(round(fraction * len(group)), 1), len(group) - 1)
        included = [case for case in group if case in include]
        others = [case for case in group if case not in include and case not in avoid]
        chosen = [*included, *others[: max(count - len(included), 0)]]
        test += chosen or [case for case in group if case in avoid][:1]
    return sorted(test)


def subset(
    cases: Mapping[str, int], count: int, split_seed: int, number: int, collection: str
) -> list[str]:
    """Return `count` random cases, stratified by class, with at least one case of each class.

    Smaller subsets of the same `number` are contained in larger ones.
    """
    groups = {label: _shuffled(cases, label, split_seed, Stream.SUBSET, number) for label in (1, 0)}
    if not 2 <= count <= len(cases):
        raise InputError(
            f"collection {collection} has {len(cases)} training cases, not {count}; set "
            f"config.learning_curve.target_cases to integers from 2 to {len(cases)}"
        )
    malignant = min(max(round(count * len(groups[1]) / len(cases)), 1), count - 1)
    return sorted(groups[1][:malignant] + groups[0][: count - malignant])


def inner_set(
    patient_labels: Mapping[str, int],
    fraction: float,
    split_seed: int,
    number: int,
    collection: str,
) -> list[str]:
    """Return `fraction` of the patients of each class, rounded, at least one and never all."""
    chosen: list[str] = []
    for label, word in ((1, "malignant"), (0, "benign")):
        group = _shuffled(patient_labels, label, split_seed, Stream.INNER_SET, number)
        if len(group) < 2:
            raise InputError(
                f"collection {collection}: {len(group)} {word} training patients cannot be split"
                " for early stopping; at least 2 of each class are needed: add cases, or set"
                " config.train.early_stopping.fraction to 0"
            )
        chosen += group[: min(max(round(fraction * len(group)), 1), len(group) - 1)]
    return sorted(chosen)


def reject_leaks(groups: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError if a case is in two of the named groups, or twice in one."""
    seen: dict[str, str] = {}
    for name, cases in groups.items():
        for case in cases:
            if case in seen:
                raise InputError(
                    f"case {case!r} is in {seen[case]} and in {name}: the same patient would be "
                    "in training and test; give each patient one case id and one split"
                )
            seen[case] = name


def _shuffled(
    cases: Mapping[str, int], label: int, split_seed: int, stream: Stream, index: int = 0
) -> list[str]:
    """Return the cases of one class in random order, which depends on seed, stream and index."""
    group = sorted(case for case, case_label in cases.items() if case_label == label)
    source = np.random.SeedSequence(split_seed, spawn_key=(stream, index, label))
    return [group[i] for i in np.random.default_rng(source).permutation(len(group))]
