"""The images of a plan: grouped, cut, and what came of each lesion view."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mtl_jax.data import duplicate_patients, extract_rois, near_duplicates, row_consistency, shards
from mtl_jax.data.ingest_plan import USER_TABLES, Plan, describe_view
from mtl_jax.types import Note

SHARED_IMAGE = (
    "its pixels stand under more than one case: a patient could be in the training and the test set"
)


class Outcome(NamedTuple):
    """What came of the lesion views of a plan, by their number: where the ROI of each is and the
    fraction of it outside the image, why each other is left out ('' where it is not), the notes of
    the images; the faults, as many as lesion views could not be used; and the images under the
    names that may be written."""

    places: dict[int, tuple[extract_rois.ImageJob, int, float]]
    reasons: list[str]
    notes: dict[int, tuple[Note, ...]]
    failures: list[str]
    seen: list[duplicate_patients.ImageIdentity]


def extract_plan(plan: Plan, scratch: Path, workers: int) -> Outcome:
    """Cut the ROIs of all lesion views that the plan takes; `scratch` keeps them meanwhile."""
    by_image, agreed = _group_by_image(plan)
    jobs = _make_jobs(plan, by_image, scratch)
    cuts = extract_rois.extract_all(jobs, workers, plan.collection.name)
    return _make_outcome(plan, by_image, jobs, cuts, agreed)


def _group_by_image(plan: Plan) -> tuple[list[list[int]], dict[int, tuple[str, tuple[Note, ...]]]]:
    """Return the numbers of the lesion views to be cut, by image: each image is read once,
    whichever way its lesions are listed. And what is wrong with the rows of an image, or noted of
    them, by the number of each of its views; images whose rows cannot all be right are not read."""
    views = plan.collection.views
    found: dict[tuple[Path, int], list[int]] = {}
    for number, view in enumerate(views):
        if not plan.reasons[number]:
            found.setdefault((view.image_path, view.frame_number), []).append(number)
    readable, agreed = [], {}
    for numbers in found.values():
        checked = row_consistency.check_rows(
            [views[number] for number in numbers], _is_user_table(plan)
        )
        agreed |= dict.fromkeys(numbers, checked)
        if not checked[0]:
            readable.append(numbers)
    return readable, agreed


def _is_user_table(plan: Plan) -> bool:
    return plan.record["source"] in USER_TABLES


def _make_jobs(
    plan: Plan, by_image: Sequence[Sequence[int]], scratch: Path
) -> list[extract_rois.ImageJob]:
    # Ids that are published are none of a hospital's, and CBIS-DDSM's headers are its own.
    header_key = b"" if plan.collection.public_ids else plan.keys.of_headers
    return [
        extract_rois.make_job(
            [plan.collection.views[number] for number in numbers],
            plan.background,
            shards.FORMAT_VERSION,
            scratch,
            header_key,
            _is_user_table(plan),
        )
        for numbers in by_image
    ]


def _make_outcome(
    plan: Plan,
    by_image: Sequence[Sequence[int]],
    jobs: Sequence[extract_rois.ImageJob],
    cuts: Sequence[extract_rois.ImageRois],
    agreed: Mapping[int, tuple[str, tuple[Note, ...]]],
) -> Outcome:
    views = plan.collection.views
    outcome = Outcome({}, list(plan.reasons), {}, [], _image_identities(plan, by_image, cuts))
    for number, (error, _) in agreed.items():
        if error:
            outcome.reasons[number] = plan.names.failure(error)
            outcome.failures.append(f"{describe_view(views[number])}: {error}")
    shared = near_duplicates.images_of_several_cases(
        [cut.pixels for cut in cuts],
        [{views[number].case_id for number in numbers} for numbers in by_image],
    )
    for image, (job, cut, numbers) in enumerate(zip(jobs, cuts, by_image, strict=True)):
        if image in shared:
            cut = cut._replace(errors=(SHARED_IMAGE,) * len(numbers), unreadable=True)
        for place, number in enumerate(numbers):
            if not cut.errors[place]:
                outcome.places[number] = (job, place, float(cut.outside[place]))
                outcome.notes[number] = agreed[number][1] + cut.notes[place]
                continue
            # What else is to be said of the image, so that it is mended once.
            noticed = [note.text for note in cut.notes[place]] if cut.notes else []
            also = f"; noted: {'; '.join(noticed)}" if noticed else ""
            outcome.reasons[number] = plan.names.failure(cut.errors[place]) + also
            if cut.excluded:
                continue
            # What is wrong with an image is said once, with the first of its rows.
            first = views[numbers[0]]
            image_of = f"{first.where}: {first.image_path}" if first.where else first.image_path
            item = image_of if cut.unreadable else describe_view(views[number])
            outcome.failures.append(f"{item}: {cut.errors[place]}{also}")
    return outcome


def _image_identities(
    plan: Plan, by_image: Sequence[Sequence[int]], cuts: Sequence[extract_rois.ImageRois]
) -> list[duplicate_patients.ImageIdentity]:
    """Return each image under the names that may be written, for each case that it is of."""
    found = []
    for numbers, cut in zip(by_image, cuts, strict=True):
        for case in dict.fromkeys(plan.views[number].case_id for number in numbers):
            found.append(
                duplicate_patients.ImageIdentity(
                    case, plan.images[numbers[0]], cut.pixels, cut.patient
                )
            )
    return found
