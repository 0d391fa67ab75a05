"""What is said of patients who are kept apart, on the screen and in the report."""

from collections.abc import Mapping, Sequence
from typing import Any


def similar_ids_note(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Return the one line that tells of them."""
    (a, first), (b, second) = pairs[0]["a"], pairs[0]["b"]
    return (
        f"{len(pairs)} pairs of cases of two collections may be one patient under two ids"
        f" (folds.json, similar_ids), the first {first} of {a} and {second} of {b}"
        f" ({pairs[0]['why']}): if so, give them one id"
    )


def id_format_note(public: str) -> str:
    """Of a collection whose ids have the form of those of this public namespace."""
    return (
        f"its ids have the form of those of {public}: if they are, write {public} into a column"
        " namespace of the manifest, so that its patients are known in other collections"
    )


def held_out_note(counts: Mapping[str, int]) -> str:
    """Return what of a collection is not learned for its patients' sake: an entry of folds.json's
    `held_out` in words."""
    parts = []
    if counts["cases"]:
        parts.append(
            f"{counts['cases']} cases ({counts['rois']} ROIs) are never learned, as their"
            " patients are in a test set"
        )
    if counts["cases_in_a_fold"]:
        parts.append(
            f"at most {counts['cases_in_a_fold']} {'more' if parts else 'cases'}"
            f" ({counts['rois_in_a_fold']} ROIs) are not learned while their patients are in the"
            " fold held out"
        )
    return "; ".join(parts)
