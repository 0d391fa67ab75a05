"""Check for near-duplicate ROIs across a split, before training.

The split keeps patients apart by their ids; this check compares pixels.
"""

from collections.abc import Mapping
from typing import Any

from mtl_jax.data import near_duplicates, patients
from mtl_jax.experiments.splits import Split
from mtl_jax.types import RoiSet


def find_near_duplicates_across_split(
    collections: Mapping[str, RoiSet], split: Split
) -> list[dict[str, Any]]:
    """Return the ids and correlation of near-duplicate ROIs in two folds, in a training and a test
    set, or in two collections.

    Pairs of one patient, and pairs with a case that is neither in training nor test, are left out.
    """
    rois = list(collections.values())
    subsets = [_case_subsets(collection, split) for collection in rois]
    patient_ids = [patients.patient_of_case(collection) for collection in rois]
    pairs = []
    for pair in near_duplicates.find_near_duplicates(rois):
        cases = [(i, str(rois[i].index["case_id"][row])) for i, row in (pair.a, pair.b)]
        pair_subsets = [subsets[i][case] for i, case in cases]
        pair_patients = {patient_ids[i].get(case, (i, case)) for i, case in cases}
        in_one_subset = pair.a[0] == pair.b[0] and pair_subsets[0] == pair_subsets[1]
        if None not in pair_subsets and not in_one_subset and len(pair_patients) > 1:
            a, b = (str(rois[i].index["roi_id"][row]) for i, row in (pair.a, pair.b))
            pairs.append({"a": a, "b": b, "correlation": pair.correlation})
    return pairs


def near_duplicates_note(pairs: list[dict[str, Any]]) -> str:
    """Return a one-line note on the near-duplicates."""
    return (
        f"mtl_jax: note: {len(pairs)} pairs of ROIs of different cases look alike across the"
        f" split (folds.json); the first is {pairs[0]['a']} and {pairs[0]['b']}; if an image is"
        " listed under two case ids, give it one"
    )


def _case_subsets(rois: RoiSet, split: Split) -> dict[str, tuple[Any, ...] | None]:
    """Return (in the test set, fold in each partition) of each case; None if it is in neither a
    training nor a test set."""
    test = set(split.evaluated.get(rois.name, ()))
    unused = set(split.excluded.get(rois.name, ())) - test
    partitions = split.partitions if rois.name == split.target else []
    folds = [{case: i for i, part in enumerate(parts) for case in part} for parts in partitions]
    return {
        case: None if case in unused else (case in test, *(fold.get(case) for fold in folds))
        for case in dict.fromkeys(rois.index["case_id"].tolist())
    }
