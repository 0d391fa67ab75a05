"""Check that the rows of a table that name one lesion do not contradict each other."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from mtl_jax.data.patients import normalize_id
from mtl_jax.data.table_errors import TableErrors
from mtl_jax.data.table_paths import resolve
from mtl_jax.types import UNKNOWN, Box, LesionView

ADVICE = "give different lesions different lesion_id"
SAME_BOX = "another lesion of the patient has nearly the same box in the image"
SIMILAR_ID = "another lesion_id of the patient differs in spelling only"
PARTLY_STATED = "only some rows of the lesion state its laterality or truth"
MIN_IOU = 0.9  # intersection over union of two boxes that are nearly the same
_laterality = attrgetter("laterality")
_DECIMALS = re.compile(r"(\d+)\.0+")  # spreadsheets change 1 to 1.0


def check_lesions(
    views: Sequence[LesionView], errors: TableErrors, case: str = "patient"
) -> list[LesionView]:
    """Return `views` with notes on rows that look wrong; contradictions go to `errors`.

    `case` names a case in messages: patient or group. A patient is in one split. A lesion is in one
    breast, has one label and is once in an image; an unknown one contradicts nothing. Two lesions
    of a patient with nearly the same box in an image are probably one row listed twice: an error if
    their labels differ, otherwise a note.
    """
    patients: dict[str, list[LesionView]] = defaultdict(list)
    lesions: dict[tuple[str, str], list[LesionView]] = defaultdict(list)
    images: dict[tuple[Path, int, str], list[LesionView]] = defaultdict(list)
    for view in views:
        patients[view.case_id].append(view)
        lesions[view.case_id, view.lesion_id].append(view)
        images[resolve(view.image_path), view.frame_number, view.case_id].append(view)
    notes: dict[int, list[str]] = defaultdict(list)
    for rows in patients.values():
        _check_split(rows, errors, case)
        for view in _similar_ids(rows):
            notes[id(view)].append(SIMILAR_ID.replace("patient", case))
    for rows in lesions.values():
        _check_laterality_and_label(rows, errors, case)
        if any(len({fact(view) for view in rows}) > 1 for fact in (_laterality, _label)):
            for view in rows:
                notes[id(view)].append(PARTLY_STATED)
    for rows in images.values():
        for view in _check_image(rows, errors, case):
            notes[id(view)].append(SAME_BOX)
    return [
        replace(view, noted="; ".join(filter(None, (view.noted, *dict.fromkeys(notes[id(view)])))))
        if id(view) in notes
        else view
        for view in views
    ]


def _check_split(rows: Sequence[LesionView], errors: TableErrors, case: str) -> None:
    """Add an error if a patient is in both the training and the test set."""
    test = next((view for view in rows if view.split == "test"), None)
    train = next((view for view in rows if view.split != "test"), None)
    if test and train:
        first, second = sorted((test, train), key=rows.index)
        errors.add(
            second.where,
            f"{case} {second.case_id} has split {second.split or '(empty)'} here and"
            f" {first.split or '(empty)'} in {_line(first)}: no {case} may be in the training and"
            f" the test set; give each {case} one split",
        )


def _similar_ids(rows: Sequence[LesionView]) -> list[LesionView]:
    """Return the rows of a patient whose lesion ids differ in spelling only: 1, 01, 1.0."""
    if len({view.lesion_id for view in rows}) < 2:
        return []
    spellings: dict[str, set[str]] = defaultdict(set)
    for view in rows:
        spellings[_normalize_id(view.lesion_id)].add(view.lesion_id)
    return [view for view in rows if len(spellings[_normalize_id(view.lesion_id)]) > 1]


def _normalize_id(lesion_id: str) -> str:
    return normalize_id(_DECIMALS.sub(r"\1", lesion_id)) or lesion_id


def _check_laterality_and_label(rows: Sequence[LesionView], errors: TableErrors, case: str) -> None:
    counts = Counter((view.laterality, view.label) for view in rows)
    # Among rows that state both facts, the minority is more likely wrong.
    majority = max(counts, key=lambda facts: ("" not in facts, facts[1] != UNKNOWN, counts[facts]))
    reference = next(view for view in rows if (view.laterality, view.label) == majority)
    for facts in counts:
        view = next(view for view in rows if (view.laterality, view.label) == facts)
        contradicted = (row for row in (reference, *rows) if _contradict(view, row))
        other = next(contradicted, None)
        if view is reference or other is None:
            continue
        errors.add(
            view.where,
            f"lesion {view.lesion_id} of {case} {view.case_id} has another laterality or truth"
            f" ({_facts(view)}) than in {_line(other)} ({_facts(other)}); correct the row, or"
            f" {ADVICE}",
        )


def _check_image(rows: Sequence[LesionView], errors: TableErrors, case: str) -> list[LesionView]:
    """Return the rows of a patient and image with the box of another lesion of the same label."""
    lesions: dict[str, LesionView] = {}
    repeated = []
    for view in rows:
        first = lesions.setdefault(view.lesion_id, view)
        if _contradict(first, view):  # an error of the lesion already
            continue
        if first is not view:
            errors.add(
                view.where,
                "the same lesion in the same image is listed twice, first in"
                f" {_line(first)}; delete a row, or {ADVICE}",
            )
            continue
        others = (row for row in lesions.values() if row is not view)
        other = next((row for row in others if _same_box(row.box, view.box)), None)
        if other is None:
            continue
        if other.label != view.label and UNKNOWN not in (other.label, view.label):
            errors.add(
                view.where,
                f"lesion {view.lesion_id} of {case} {view.case_id} has the box of lesion"
                f" {other.lesion_id} in {_line(other)} in the same image, but another truth;"
                " correct or delete a row",
            )
        else:
            repeated += [other, view]
    return repeated


def _same_box(first: Box, second: Box) -> bool:
    """Return whether two boxes in one image are nearly the same."""
    if first == second:
        return True
    height, width = (
        min(first[axis + 2], second[axis + 2]) - max(first[axis], second[axis]) for axis in (0, 1)
    )
    intersection = max(height, 0.0) * max(width, 0.0)
    return intersection > MIN_IOU * (_area(first) + _area(second) - intersection)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _contradict(first: LesionView, second: LesionView) -> bool:
    """Return whether both rows state a laterality or a label, and not the same one."""
    return any(
        "" not in (fact(first), fact(second)) and fact(first) != fact(second)
        for fact in (_laterality, _label)
    )


def _label(view: LesionView) -> str:
    return {1: "malignant", 0: "benign"}.get(view.label, "")


def _facts(view: LesionView) -> str:
    return f"{_laterality(view) or 'no laterality'}, {_label(view) or 'unknown'}"


def _line(view: LesionView) -> str:
    """Return 'line 7' of 'TABLE line 7'."""
    return " ".join(view.where.split()[-2:])
