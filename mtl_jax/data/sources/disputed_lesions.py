"""Find lesions that are malignant in one row of a table and benign in another."""

from collections.abc import Iterable, Sequence

from mtl_jax.types import LesionView

Lesion = tuple[str, str]  # ids of the case and of the lesion

REASON = "malignant in one view, benign in another"


def disputed_lesions(labels: Iterable[tuple[Lesion, int]]) -> set[Lesion]:
    """Return the lesions that have both labels, 0 and 1, in `labels`."""
    labels_of: dict[Lesion, set[int]] = {}
    for lesion, label in labels:
        labels_of.setdefault(lesion, set()).add(label)
    return {lesion for lesion, found in labels_of.items() if {0, 1} <= found}


def separate_disputed(
    views: Sequence[LesionView],
) -> tuple[list[LesionView], list[LesionView]]:
    """Return the views of lesions with one label in all their views, and those of the others."""
    disputed = disputed_lesions(((view.case_id, view.lesion_id), view.label) for view in views)
    kept: list[LesionView] = []
    left_out: list[LesionView] = []
    for view in views:
        (left_out if (view.case_id, view.lesion_id) in disputed else kept).append(view)
    return kept, left_out
