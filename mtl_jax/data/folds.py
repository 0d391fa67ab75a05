"""Folds and the test set: random partitions of cases, stratified by class (paper, section 2.4).

A case is malignant if any of its lesions is. Every view and lesion of a case stays with it.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from enum import IntEnum

import numpy as np

from mtl_jax.types import InputError


class Stream(IntEnum):
    """What a random permutation of cases is for. Each purpose has its own random stream, so that
    neither two purposes nor neighbouring seeds share a permutation."""

    TEST_SET = 0
    FOLDS = 1
    SUBSET = 2


def case_labels(case_ids: Iterable[str], labels: Iterable[int]) -> dict[str, int]:
    """Return {case: 1 if any of its ROIs is malignant, else 0}, in sorted order of the ids."""
    cases: dict[str, int] = {}
    for case, label in zip(case_ids, labels, strict=True):
        cases[str(case)] = max(cases.get(str(case), 0), int(label))
    return {case: cases[case] for case in sorted(cases)}


def partition(
    cases: Mapping[str, int], count: int, split_seed: int, split: int, collection: str
) -> list[list[str]]:
    """Return `count` folds of case ids, stratified by class, for partition number `split`.

    Sizes, and numbers of malignant cases, differ by at most one among the folds. Raises InputError
    where a class has fewer cases than there are folds.
    """
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
            # Going on where the malignant cases stopped keeps the folds' sizes even as well.
            folds[assigned % count].append(case)
            assigned += 1
    return [sorted(fold) for fold in folds]


def hold_out(
    cases: Mapping[str, int],
    fraction: float,
    split_seed: int,
    collection: str,
    first: Set[str] = frozenset(),
    last: Set[str] = frozenset(),
) -> list[str]:
    """Return the test cases: `fraction` of each class, rounded, at least one and never all of a
    class.

    All cases of `first` are among them, even where those are more or all; of the others those of
    `last` are taken only where a class would have none.
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
        wanted = [case for case in group if case in first]
        free = [case for case in group if case not in first and case not in last]
        chosen = [*wanted, *free[: max(count - len(wanted), 0)]]
        test += chosen or [case for case in group if case in last][:1]
    return sorted(test)


def subset(
    cases: Mapping[str, int], count: int, split_seed: int, number: int, collection: str
) -> list[str]:
    """Return `count` random cases, the classes in the proportion of all, at least one of each.

    Smaller subsets of the same `number` are nested in larger ones. Raises InputError where there
    are fewer cases.
    """
    groups = {label: _shuffled(cases, label, split_seed, Stream.SUBSET, number) for label in (1, 0)}
    if not 2 <= count <= len(cases):
        raise InputError(
            f"collection {collection}: {count} training cases asked for of {len(cases)}; set "
            "config.learning_curve.target_cases to numbers between 2 and that"
        )
    malignant = min(max(round(count * len(groups[1]) / len(cases)), 1), count - 1)
    return sorted(groups[1][:malignant] + groups[0][: count - malignant])


def reject_leaks(groups: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError where a case stands in two of the named groups, or twice in one."""
    seen: dict[str, str] = {}
    for name, cases in groups.items():
        for case in cases:
            if case in seen:
                raise InputError(
                    f"case {case!r} is in {seen[case]} and in {name}: the same patient would be "
                    "learned and tested; give each patient one case id and one split"
                )
            seen[case] = name


def _shuffled(
    cases: Mapping[str, int], label: int, split_seed: int, stream: Stream, index: int = 0
) -> list[str]:
    """Return the cases of one class in random order: a function of the seed, the purpose and the
    index."""
    group = sorted(case for case, truth in cases.items() if truth == label)
    source = np.random.SeedSequence(split_seed, spawn_key=(stream, index, label))
    return [group[i] for i in np.random.default_rng(source).permutation(len(group))]
