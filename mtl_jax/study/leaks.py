"""What of a study's regions might be learned and tested at once, said before any training.

Case ids are kept apart by the splits; this looks at the pixels. It refuses nothing.
"""

from collections.abc import Mapping
from typing import Any

from mtl_jax.data import twins
from mtl_jax.nouns import RoiSet
from mtl_jax.study.splits import Split


def across(collections: Mapping[str, RoiSet], split: Split) -> list[dict[str, Any]]:
    """Pairs of regions of different cases that look alike and stand on two sides of a split: in
    two folds, in training and test, or in two collections. Each as its ids and correlation."""
    order = list(collections.values())
    sides = [_sides(rois, split) for rois in order]
    cases, ids = ([rois.index[name] for rois in order] for name in ("case_id", "roi_id"))
    found = []
    for pair in twins.alike(order):
        ends = (pair.a, pair.b)
        apart = {(number, *sides[number][str(cases[number][row])]) for number, row in ends}
        if len(apart) > 1:
            a, b = (str(ids[number][row]) for number, row in ends)
            found.append({"a": a, "b": b, "correlation": pair.correlation})
    return found


def note(alike: list[dict[str, Any]]) -> str:
    """The one line that tells of them; '' where there are none."""
    if not alike:
        return ""
    first = alike[0]
    return (
        f"mtl_jax: note: {len(alike)} pairs of regions of different cases look alike across the"
        f" split (folds.json), the first {first['a']} and {first['b']}: if a film stands under two"
        " case ids, give it one"
    )


def _sides(rois: RoiSet, split: Split) -> dict[str, tuple[Any, ...]]:
    """Where each case of a collection stands: test or not, and its fold in each partition."""
    test = set(split.others.get(rois.name, ()))
    folds: list[dict[str, int]] = []
    if rois.name == split.target:
        test = set(split.test)
        folds = [
            {case: i for i, part in enumerate(parts) for case in part} for parts in split.partitions
        ]
    marks = dict(zip(rois.index["case_id"].tolist(), rois.index["split"].tolist(), strict=True))
    return {
        case: (case in test or mark == "test", *(of_case.get(case) for of_case in folds))
        for case, mark in marks.items()
    }
