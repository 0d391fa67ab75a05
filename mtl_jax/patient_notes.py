"""Notes on patients who may be, or are, in more than one collection, for screen and report."""

from collections.abc import Mapping, Sequence
from typing import Any

GROUPS_NOTE = (
    "no patient ids; groups of images (group_id) take the place of patients, in splits, folds and"
    " intervals, and are not compared with the patients of other collections"
)


def similar_ids_note(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Return the note on pairs of cases that may be one patient: `similar_ids` of folds.json."""
    (a, case_a), (b, case_b) = pairs[0]["a"], pairs[0]["b"]
    return (
        f"in {len(pairs)} pairs of cases of two collections, both may be one patient with two ids"
        f" (folds.json, similar_ids); the first is {case_a} of {a} and {case_b} of {b}"
        f" ({pairs[0]['why']}); if so, give both one patient_id"
    )


def id_format_note(public: str) -> str:
    """Return the note on a collection whose ids have the form of the namespace `public`."""
    return (
        f"its patient ids look like those of {public}; if they are, set the column namespace of its"
        f" manifest to {public}, so that its patients are recognized in other collections"
    )


def exclusion_note(counts: Mapping[str, int]) -> str:
    """Return the note on cases excluded from training, from an entry of folds.json's `held_out`."""
    parts = []
    if counts["cases"]:
        parts.append(
            f"{counts['cases']} cases ({counts['rois']} ROIs) are excluded from training because"
            " their patients are in a test set"
        )
    if counts["cases_in_a_fold"]:
        parts.append(
            f"at most {counts['cases_in_a_fold']} {'more' if parts else 'cases'}"
            f" ({counts['rois_in_a_fold']} ROIs) are excluded while their patients are in the"
            " held-out fold"
        )
    return "; ".join(parts)
