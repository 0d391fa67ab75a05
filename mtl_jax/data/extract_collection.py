"""Extract the ROIs of a planned collection; collect errors and notes of its lesion views."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data import (
    audit,
    duplicate_patients,
    extract_rois,
    near_duplicates,
    row_consistency,
    shards,
)
from mtl_jax.data.collection_checks import CheckedView
from mtl_jax.data.ingest_plan import USER_TABLES, Plan, describe_view
from mtl_jax.exclusion_reasons import join_first
from mtl_jax.types import LesionView, Note

MAX_ROWS = 10  # that an error of an image names
SHARED_IMAGE = (
    "its pixels are listed under more than one case: a patient could be in both the training and"
    " the test set"
)


class Outcome(NamedTuple):
    """The results of extraction, by the numbers of the lesion views of a plan.

    `extracted` holds (job, index in the image, fraction outside the image) of each ROI. `reasons`
    say why a view is left out ('' if it is not). `notes` are those of the images. `failures` has
    one error per lesion view that could not be used, and `constant` one per lesion view whose ROI
    has one gray value, by its number. `images` holds each image of each case, and `results` the
    number and the result of the image of each ROI.
    """

    extracted: dict[int, tuple[extract_rois.ImageJob, int, float]]
    reasons: list[str]
    notes: dict[int, tuple[Note, ...]]
    failures: list[str]
    constant: dict[int, str]
    images: list[duplicate_patients.ImageIdentity]
    results: dict[int, tuple[int, extract_rois.ImageRois]]

    def checked_views(self, views: Sequence[LesionView]) -> list[CheckedView]:
        """Return the ROIs for the checks of the collection, named as in `views`."""
        checked = []
        for number, (_, position, _) in sorted(self.extracted.items()):
            image, result = self.results[number]
            checked.append(
                CheckedView(
                    audit.item_name(views[number]),
                    views[number],
                    self.notes[number],
                    image,
                    float(result.contrast[position]),
                    result.largest,
                    result.depth,
                )
            )
        return checked


def extract_plan(plan: Plan, scratch: Path, workers: int, strips: bool = False) -> Outcome:
    """Extract the ROIs of all lesion views of the plan, caching them in `scratch`.

    `strips`: draw the strip of each image for the contact sheet, too.
    """
    readable, row_checks = _group_by_image(plan)
    jobs = _make_jobs(plan, readable, scratch, strips)
    results = extract_rois.extract_all(jobs, workers, plan.collection.name)
    return _make_outcome(plan, readable, jobs, results, row_checks)


def _group_by_image(plan: Plan) -> tuple[list[list[int]], dict[int, tuple[str, tuple[Note, ...]]]]:
    """Return the views of each readable image, and (error, notes) of each view, all by numbers.

    An image whose rows contradict each other is not read.
    """
    views = plan.collection.views
    by_image: dict[tuple[Path, int], list[int]] = {}
    for number, view in enumerate(views):
        if not plan.reasons[number]:
            by_image.setdefault((view.image_path, view.frame_number), []).append(number)
    readable, row_checks = [], {}
    for numbers in by_image.values():
        image_views = [views[number] for number in numbers]
        error, notes = row_consistency.check_rows(image_views, _is_user_table(plan))
        row_checks |= dict.fromkeys(numbers, (error, notes))
        if not error:
            readable.append(numbers)
    return readable, row_checks


def _is_user_table(plan: Plan) -> bool:
    return plan.record["source"] in USER_TABLES


def _make_jobs(
    plan: Plan, readable: Sequence[Sequence[int]], scratch: Path, strips: bool
) -> list[extract_rois.ImageJob]:
    # Published ids identify no hospital patient; CBIS-DDSM's headers hold ids of the collection.
    header_key = b"" if plan.collection.public_ids else plan.keys.header_key
    return [
        extract_rois.make_job(
            [plan.collection.views[number] for number in numbers],
            plan.roi,
            shards.FORMAT_VERSION,
            scratch,
            header_key,
            _is_user_table(plan),
            strips,
        )
        for numbers in readable
    ]


def _make_outcome(
    plan: Plan,
    readable: Sequence[Sequence[int]],
    jobs: Sequence[extract_rois.ImageJob],
    results: Sequence[extract_rois.ImageRois],
    row_checks: Mapping[int, tuple[str, tuple[Note, ...]]],
) -> Outcome:
    views = plan.collection.views
    identities = _image_identities(plan, readable, results)
    outcome = Outcome({}, list(plan.reasons), {}, [], {}, identities, {})
    for number, (error, _) in row_checks.items():
        if error:
            outcome.reasons[number] = plan.names.failure(error)
            outcome.failures.append(f"{describe_view(views[number])}: {error}")
    shared = near_duplicates.images_of_several_cases(
        [result.pixels for result in results],
        [{views[number].case_id for number in numbers} for numbers in readable],
    )
    for image, (job, result, numbers) in enumerate(zip(jobs, results, readable, strict=True)):
        if image in shared:
            # Blank images are equal, too.
            errors = tuple(
                error if position in result.constant else SHARED_IMAGE
                for position, error in enumerate(result.errors)
            )
            result = result._replace(errors=errors, unreadable=True)
        for position, number in enumerate(numbers):
            error = result.errors[position]
            if not error:
                outcome.extracted[number] = (job, position, float(result.outside[position]))
                outcome.results[number] = (image, result)
                outcome.notes[number] = row_checks[number][1] + result.notes[position]
                continue
            # The notes are added so that everything can be corrected at once.
            notes = [note.text for note in result.notes[position]] if result.notes else []
            suffix = f"; noted: {'; '.join(notes)}" if notes else ""
            is_constant = position in result.constant
            # The error of a constant ROI holds fixed words and a number, like a note.
            reason = error if is_constant else plan.names.failure(error)
            outcome.reasons[number] = reason + suffix
            if result.excluded:
                continue
            if is_constant:
                outcome.constant[number] = f"{describe_view(views[number])}: {error}{suffix}"
                continue
            # An error of the image is listed with the first of its rows only.
            first = views[numbers[0]]
            image_of = f"{first.where}: {first.image_path}" if first.where else first.image_path
            item = image_of if result.unreadable else describe_view(views[number])
            others = _other_rows([views[n] for n in numbers]) if result.unreadable else ""
            outcome.failures.append(f"{item}: {error}{suffix}{others}")
    return outcome


def _other_rows(views: Sequence[LesionView]) -> str:
    """Return '; the same image: line 3, line 4' of the rows of an image after its first one."""
    rows = [" ".join(view.where.split()[-2:]) for view in views[1:] if view.where]
    return f"; the same image: {join_first(rows, MAX_ROWS)}" if rows else ""


def _image_identities(
    plan: Plan, readable: Sequence[Sequence[int]], results: Sequence[extract_rois.ImageRois]
) -> list[duplicate_patients.ImageIdentity]:
    """Return each image, under the name that is written to files, once per case."""
    identities = []
    for numbers, result in zip(readable, results, strict=True):
        for case in dict.fromkeys(plan.views[number].case_id for number in numbers):
            identities.append(
                duplicate_patients.ImageIdentity(
                    case, plan.images[numbers[0]], result.pixels, result.patient
                )
            )
    return identities
