"""What of a study's ROIs might be learned and tested at once, said before any training.

Patients are kept apart by the splits; this looks at the pixels.
"""

from collections.abc import Mapping
from typing import Any

from mtl_jax.data import near_duplicates, patients
from mtl_jax.experiments.splits import Split
from mtl_jax.types import RoiSet


def find_near_duplicates(collections: Mapping[str, RoiSet], split: Split) -> list[dict[str, Any]]:
    """Pair of ROIs of different cases that look alike and stand on two sides of a split: in
    two folds, in training and test, or in two collections. Each as its ids and correlation. Cases
    of one patient are kept on one side, and those that are never learned nor tested on none."""
    order = list(collections.values())
    sides = [_split_labels(rois, split) for rois in order]
    people = [patients.patient_of_case(rois) for rois in order]
    cases, ids = ([rois.index[name] for rois in order] for name in ("case_id", "roi_id"))
    found = []
    for pair in near_duplicates.find_near_duplicates(order):
        ends = [(number, row, str(cases[number][row])) for number, row in (pair.a, pair.b)]
        where = [sides[number][case] for number, _, case in ends]
        apart = {(number, side) for (number, _, _), side in zip(ends, where, strict=True)}
        same = len({people[number].get(case, (number, case)) for number, _, case in ends}) == 1
        if len(apart) > 1 and not same and None not in where:
            a, b = (str(ids[number][row]) for number, row, _ in ends)
            found.append({"a": a, "b": b, "correlation": pair.correlation})
    return found


def near_duplicates_note(alike: list[dict[str, Any]]) -> str:
    """Return the one line that tells of them; '' where there are none."""
    if not alike:
        return ""
    first = alike[0]
    return (
        f"mtl_jax: note: {len(alike)} pairs of ROIs of different cases look alike across the"
        f" split (folds.json), the first {first['a']} and {first['b']}: if a film stands under two"
        " case ids, give it one"
    )


def _split_labels(rois: RoiSet, split: Split) -> dict[str, tuple[Any, ...] | None]:
    """Return where each case of a collection stands: test or not, and its fold in each partition;
    None where it is neither learned nor tested."""
    test = set(split.evaluated.get(rois.name, ()))
    away = set(split.excluded.get(rois.name, ())) - test
    folds: list[dict[str, int]] = []
    if rois.name == split.target:
        folds = [
            {case: i for i, part in enumerate(parts) for case in part} for parts in split.partitions
        ]
    return {
        case: None if case in away else (case in test, *(of_case.get(case) for of_case in folds))
        for case in dict.fromkeys(rois.index["case_id"].tolist())
    }
