"""Whether the rows of a table that name one lesion can be of one lesion. Reads no table."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mtl_jax.data.table_faults import TableFaults
from mtl_jax.data.table_paths import resolved
from mtl_jax.nouns import Box, LesionView

CURE = "give different lesions different lesion_id"
SAME_PLACE = "another lesion of the patient has the same place in the image"


def checked(views: Sequence[LesionView], faults: TableFaults) -> list[LesionView]:
    """Return `views` with notes, after adding to `faults` what their rows contradict in each other.

    A patient is in one split. A lesion is in one breast, has one truth, and stands once in an
    image. Another lesion of the patient with the same box in the same image is probably the same
    row listed twice: a fault where its truth differs, else a note.
    """
    lesions: dict[tuple[str, str], list[LesionView]] = defaultdict(list)
    images: dict[tuple[Path, int], list[LesionView]] = defaultdict(list)
    for view in views:
        lesions[view.case_id, view.lesion_id].append(view)
        images[resolved(view.image_path), view.frame_number].append(view)
    patients: dict[str, list[LesionView]] = defaultdict(list)
    for view in views:
        patients[view.case_id].append(view)
    for rows in patients.values():
        _one_split(rows, faults)
    for rows in lesions.values():
        _one_breast_one_truth(rows, faults)
    same_place = {id(view) for rows in images.values() for view in _once(rows, faults)}
    return [
        replace(view, noted="; ".join(filter(None, (view.noted, SAME_PLACE))))
        if id(view) in same_place
        else view
        for view in views
    ]


def _one_split(rows: Sequence[LesionView], faults: TableFaults) -> None:
    """Of one patient, who must not be learned and tested."""
    test = next((view for view in rows if view.split == "test"), None)
    other = next((view for view in rows if view.split != "test"), None)
    if test and other:
        late, early = sorted((test, other), key=rows.index)[::-1]
        faults.add(
            late.where,
            f"patient {late.case_id} has split {late.split or '(empty)'} here and"
            f" {early.split or '(empty)'} in {_line(early)}: a patient who is tested is not"
            " learned, so give each patient one split",
        )


def _one_breast_one_truth(rows: Sequence[LesionView], faults: TableFaults) -> None:
    counts = Counter((view.laterality, view.label) for view in rows)
    if len(counts) == 1:
        return
    # The row that differs from most is the likelier fault.
    usual = max(counts, key=lambda facts: counts[facts])
    like = next(view for view in rows if (view.laterality, view.label) == usual)
    for other in dict.fromkeys(counts):
        if other == usual:
            continue
        view = next(view for view in rows if (view.laterality, view.label) == other)
        faults.add(
            view.where,
            f"lesion {view.lesion_id} of patient {view.case_id} has another laterality or truth"
            f" ({_facts(view)}) than in {_line(like)} ({_facts(like)}); correct the row, or {CURE}",
        )


def _once(rows: Sequence[LesionView], faults: TableFaults) -> list[LesionView]:
    """Those rows of one image that have the place of another lesion, which agrees in the truth."""
    lesions: dict[tuple[str, str], LesionView] = {}
    places: dict[tuple[str, Box], LesionView] = {}
    same = []
    for view in rows:
        first = lesions.setdefault((view.case_id, view.lesion_id), view)
        if _facts(first) != _facts(view):  # which is a fault of the lesion already
            continue
        if first is not view:
            faults.add(
                view.where,
                "the same lesion in the same image is listed twice, first in"
                f" {_line(first)}; delete a row, or {CURE}",
            )
            continue
        first = places.setdefault((view.case_id, view.box), view)
        if first.label != view.label:
            faults.add(
                view.where,
                f"lesion {view.lesion_id} of patient {view.case_id} has the place of lesion"
                f" {first.lesion_id} in {_line(first)} in the same image, and another truth;"
                " correct or delete a row",
            )
        elif first is not view:
            same += [first, view]
    return same


def _facts(view: LesionView) -> str:
    truth = {1: "malignant", 0: "benign"}.get(view.label, "unknown")
    return f"{view.laterality or 'no side'}, {truth}"


def _line(view: LesionView) -> str:
    """'line 7' of 'TABLE line 7'."""
    return " ".join(view.where.split()[-2:])
