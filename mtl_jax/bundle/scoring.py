"""Every lesion asked for, scored and put beside the training lesions. It writes nothing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtl_jax.analysis.gradients import integrated
from mtl_jax.bundle import model as bundles
from mtl_jax.bundle import training_ranges
from mtl_jax.bundle.lesion_table import LesionRow
from mtl_jax.bundle.model import Model, Neighbour
from mtl_jax.data.near_duplicates import pixel_digest
from mtl_jax.imaging.dicom_attributes import MAGNIFIED
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.types import UNKNOWN, InputError, Note

PATIENTS_DIFFER = Note("the headers of the lesion's images name different patients")
STEPS = 16  # of the integrated gradients of a map of evidence


class ViewScore(NamedTuple):
    """One lesion in one image. `counts` (128, 128) int16 is its ROI; `evidence` (128, 128)
    float32, or None, what each pixel adds to the log odds of malignant. `notes`: what in the facts
    of the image was noticed. NaN: not calibrated."""

    asked: LesionRow
    score: float
    probability: float
    flags: tuple[str, ...]
    counts: np.ndarray
    evidence: np.ndarray | None
    notes: tuple[Note, ...] = ()


class LesionScore(NamedTuple):
    """One lesion over its views. Percentiles are among the task's training lesions."""

    case_id: str
    lesion_id: str
    label: int
    score: float
    probability: float
    percentile_benign: float
    percentile_malignant: float
    nearest: tuple[Neighbour, ...]
    flags: tuple[str, ...]
    views: tuple[ViewScore, ...]


def score(
    model: Model, asked: Sequence[LesionRow], task: str | None = None, evidence: bool = True
) -> list[LesionScore]:
    """The lesions of `asked`, in its order, as `task` (the tested collection) would be scored.

    InputError, with the line of the table: an image that cannot be read, a box outside it.
    """
    name = model.task(task)
    counts, outside, noticed = _rois(model, asked)
    scores, features = model.score_rois(counts, name)
    measured = training_ranges.measure(
        counts,
        np.array([one.view.pixel_um for one in asked]),
        outside,
        np.array([_size_mm(one) for one in asked]),
    )
    modality = [one.view.modality for one in asked]
    flags = training_ranges.range_flags(model.about["training"][name], measured, modality)
    for one, found in zip(asked, flags, strict=True):
        if one.header.get("magnified"):
            found.append(MAGNIFIED)
        if one.header.get("lossy"):
            found.append("was once compressed with loss")
    probabilities = model.probability(scores, "view", name)
    views = [
        ViewScore(
            one,
            float(scores[i]),
            float(probabilities[i]),
            tuple(flags[i]),
            counts[i],
            attribution_map(model, counts[i], name) if evidence else None,
            (*one.notes, *noticed[i]),
        )
        for i, one in enumerate(asked)
    ]
    by_lesion: dict[tuple[str, str], list[int]] = {}
    for i, one in enumerate(asked):
        by_lesion.setdefault((one.view.case_id, one.view.lesion_id), []).append(i)
    return [
        _lesion(model, name, [views[i] for i in rows], features[rows].mean(0))
        for rows in by_lesion.values()
    ]


def attribution_map(model: Model, counts: np.ndarray, task: str | None = None) -> np.ndarray:
    """What each pixel of an ROI (128, 128) int16 adds to its log odds, by integrated gradients
    against an ROI of the collection's mean gray; the ROI as it stands, not turned."""
    name = model.task(task)
    run = model.about["run"]
    gray = (counts.astype(np.float32) - run["input_mean"][name]) / run["input_std"][name]
    return integrated(model.network, model.params, gray, model.tasks.index(name), STEPS)


def _rois(
    model: Model, asked: Sequence[LesionRow]
) -> tuple[np.ndarray, np.ndarray, list[tuple[Note, ...]]]:
    """ROIs (n, 128, 128) int16, the fraction (n,) of each outside, and what was noticed in the
    image of each; each image read once."""
    by_image: dict[tuple, list[int]] = {}
    for i, one in enumerate(asked):
        key = one.view.image_path, one.view.frame, one.view.bits
        by_image.setdefault(key, []).append(i)
    counts = np.zeros((len(asked), 128, 128), np.int16)
    outside = np.zeros(len(asked))
    noticed: list[tuple[Note, ...]] = [()] * len(asked)
    seen: dict[tuple, LesionRow] = {}
    patients: dict[tuple[str, str], set[str]] = {}
    for (path, frame, bits), rows in by_image.items():
        try:
            image = read_stored(path, frame, bits)
        except InputError as error:
            raise InputError(f"{asked[rows[0]].where}: {error}") from error
        digest = pixel_digest(image.values)
        for i in rows:
            view = asked[i].view
            patients.setdefault((view.case_id, view.lesion_id), set()).add(image.patient_id)
            same = seen.setdefault((view.case_id, view.lesion_id, digest), asked[i])
            if same is not asked[i]:
                raise InputError(
                    f"{asked[i].where}: the same image as in {same.where} under another name: it"
                    " would count twice in its lesion; delete a row"
                )
            try:
                found = bundles.cut_rois(
                    image, [asked[i].view], model.about["preprocessing"]["background"]
                )
            except InputError as error:
                raise InputError(f"{asked[i].where}: {error}") from error
            counts[i], outside[i], noticed[i] = found.rois[0], found.outside[0], found.notes[0]
    for i, one in enumerate(asked):
        if len(patients[one.view.case_id, one.view.lesion_id] - {""}) > 1:
            noticed[i] += (PATIENTS_DIFFER,)
    return counts, outside, noticed


def _size_mm(one: LesionRow) -> tuple[float, float]:
    top, left, bottom, right = one.view.box
    rows, columns = one.view.pixel_um
    return (bottom - top) * rows / 1000, (right - left) * columns / 1000


def _lesion(
    model: Model, task: str, views: Sequence[ViewScore], features: np.ndarray
) -> LesionScore:
    first = views[0].asked.view
    # The table may give the truth in some rows of a lesion alone; never two
    # (bundle/lesion_table.py).
    labels = [view.asked.view.label for view in views]
    score = float(np.mean([view.score for view in views]))
    nearest = model.nearest(features)
    flags = list(dict.fromkeys(flag for view in views for flag in view.flags))
    far = model.about["far"]
    if nearest and nearest[0].distance > far:
        flags.append(
            f"far from all training lesions in F4: {nearest[0].distance:.3g}, above {far:.3g}"
        )
    return LesionScore(
        first.case_id,
        first.lesion_id,
        next((label for label in labels if label != UNKNOWN), UNKNOWN),
        score,
        float(model.probability([score], "lesion", task)[0]),
        model.percentile(score, 0, task),
        model.percentile(score, 1, task),
        tuple(nearest),
        tuple(flags),
        tuple(views),
    )
