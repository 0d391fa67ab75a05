"""Whether the rows of a table that name one lesion can be of one lesion."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mtl_jax.data.patients import normalize_id
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.data.table_paths import resolve
from mtl_jax.types import UNKNOWN, Box, LesionView

CURE = "give different lesions different lesion_id"
SAME_PLACE = "another lesion of the patient has the same place in the image"
SAME_ID = "another lesion id of the patient reads as the same"
PARTLY = "the lesion's side or truth is stated in some of its rows alone"
OVERLAP = 0.9  # intersection over union of two boxes that are one place
_DECIMALS = re.compile(r"(\d+)\.0+")  # as spreadsheets make 1.0 of 1


def check_lesions(views: Sequence[LesionView], faults: TableErrors) -> list[LesionView]:
    """Return `views` with notes, after adding to `faults` what their rows contradict in each other.

    A patient is in one split. A lesion is in one breast, has one truth, and stands once in an
    image; a side or truth that a row does not state contradicts nothing. Another lesion of the
    patient with nearly the same box in the same image is probably the same row listed twice: a
    fault where its truth differs, else a note.
    """
    patients: dict[str, list[LesionView]] = defaultdict(list)
    lesions: dict[tuple[str, str], list[LesionView]] = defaultdict(list)
    images: dict[tuple[Path, int, str], list[LesionView]] = defaultdict(list)
    for view in views:
        patients[view.case_id].append(view)
        lesions[view.case_id, view.lesion_id].append(view)
        images[resolve(view.image_path), view.frame_number, view.case_id].append(view)
    noted: dict[int, list[str]] = defaultdict(list)
    for rows in patients.values():
        _one_split(rows, faults)
        for view in _similar_ids(rows):
            noted[id(view)].append(SAME_ID)
    for rows in lesions.values():
        _one_breast_one_truth(rows, faults)
        if any(len({fact(view) for view in rows}) > 1 for fact in (_side, _truth)):
            for view in rows:
                noted[id(view)].append(PARTLY)
    for rows in images.values():
        for view in _once(rows, faults):
            noted[id(view)].append(SAME_PLACE)
    return [
        replace(view, noted="; ".join(filter(None, (view.noted, *dict.fromkeys(noted[id(view)])))))
        if id(view) in noted
        else view
        for view in views
    ]


def _one_split(rows: Sequence[LesionView], faults: TableErrors) -> None:
    """Of one patient, who must not be in the training and the test set."""
    test = next((view for view in rows if view.split == "test"), None)
    other = next((view for view in rows if view.split != "test"), None)
    if test and other:
        late, early = sorted((test, other), key=rows.index)[::-1]
        faults.add(
            late.where,
            f"patient {late.case_id} has split {late.split or '(empty)'} here and"
            f" {early.split or '(empty)'} in {_line(early)}: no patient is in the training and the"
            " test set, so give each patient one split",
        )


def _similar_ids(rows: Sequence[LesionView]) -> list[LesionView]:
    """Return those rows of one patient whose lesion id a person would read as another one: 1, 01,
    1.0."""
    if len({view.lesion_id for view in rows}) < 2:
        return []
    spellings: dict[str, set[str]] = defaultdict(set)
    for view in rows:
        spellings[_reads_as(view.lesion_id)].add(view.lesion_id)
    return [view for view in rows if len(spellings[_reads_as(view.lesion_id)]) > 1]


def _reads_as(lesion_id: str) -> str:
    return normalize_id(_DECIMALS.sub(r"\1", lesion_id)) or lesion_id


def _one_breast_one_truth(rows: Sequence[LesionView], faults: TableErrors) -> None:
    counts = Counter((view.laterality, view.label) for view in rows)
    # The row that differs from most of those that state both is the likelier fault.
    usual = max(counts, key=lambda facts: ("" not in facts, facts[1] != UNKNOWN, counts[facts]))
    like = next(view for view in rows if (view.laterality, view.label) == usual)
    for other in counts:
        view = next(view for view in rows if (view.laterality, view.label) == other)
        against = next((one for one in (like, *rows) if _contradict(view, one)), None)
        if view is like or against is None:
            continue
        faults.add(
            view.where,
            f"lesion {view.lesion_id} of patient {view.case_id} has another laterality or truth"
            f" ({_facts(view)}) than in {_line(against)} ({_facts(against)}); correct the row, or"
            f" {CURE}",
        )


def _once(rows: Sequence[LesionView], faults: TableErrors) -> list[LesionView]:
    """Return those rows of one patient and image that have the place of another lesion, which does
    not differ in the truth."""
    lesions: dict[str, LesionView] = {}
    same = []
    for view in rows:
        first = lesions.setdefault(view.lesion_id, view)
        if _contradict(first, view):  # which is a fault of the lesion already
            continue
        if first is not view:
            faults.add(
                view.where,
                "the same lesion in the same image is listed twice, first in"
                f" {_line(first)}; delete a row, or {CURE}",
            )
            continue
        others = (one for one in lesions.values() if one is not view)
        other = next((one for one in others if _meet(one, view)), None)
        if other is None:
            continue
        if other.label != view.label and UNKNOWN not in (other.label, view.label):
            faults.add(
                view.where,
                f"lesion {view.lesion_id} of patient {view.case_id} has the place of lesion"
                f" {other.lesion_id} in {_line(other)} in the same image, and another truth;"
                " correct or delete a row",
            )
        else:
            same += [other, view]
    return same


def _meet(one: LesionView, other: LesionView) -> bool:
    """Return whether two boxes in one image are one place."""
    if one.box == other.box:
        return True
    sides = [
        min(one.box[axis + 2], other.box[axis + 2]) - max(one.box[axis], other.box[axis])
        for axis in (0, 1)
    ]
    shared = max(sides[0], 0.0) * max(sides[1], 0.0)
    return shared > OVERLAP * (_area(one.box) + _area(other.box) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _contradict(one: LesionView, other: LesionView) -> bool:
    """Return whether both rows state a side, or a truth, and not the same."""
    return any(
        "" not in (fact(one), fact(other)) and fact(one) != fact(other) for fact in (_side, _truth)
    )


def _side(view: LesionView) -> str:
    return view.laterality


def _truth(view: LesionView) -> str:
    return {1: "malignant", 0: "benign"}.get(view.label, "")


def _facts(view: LesionView) -> str:
    return f"{_side(view) or 'no side'}, {_truth(view) or 'unknown'}"


def _line(view: LesionView) -> str:
    """Return 'line 7' of 'TABLE line 7'."""
    return " ".join(view.where.split()[-2:])
