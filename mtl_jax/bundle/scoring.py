"""Score lesions, and compare them with the training lesions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mtl_jax.analysis.gradients import integrated_gradients
from mtl_jax.bundle import model as bundles
from mtl_jax.bundle import training_ranges
from mtl_jax.bundle.lesion_table import LesionRow
from mtl_jax.bundle.model import Model, Neighbour
from mtl_jax.data.near_duplicates import pixel_digest
from mtl_jax.imaging.dicom_attributes import MAGNIFIED
from mtl_jax.imaging.read_image import read_stored
from mtl_jax.types import UNKNOWN, InputError, Note

PATIENTS_DIFFER = Note("the headers of the lesion's images name different patients")
STEPS = 16  # of the integrated gradients


class ViewScore(NamedTuple):
    """The score of one lesion in one image."""

    row: LesionRow
    score: float
    probability: float  # NaN without calibration
    flags: tuple[str, ...]  # what is outside the training range
    counts: np.ndarray  # ROI (128, 128) int16
    attribution: np.ndarray | None  # of each pixel to the log odds, (128, 128) float32
    notes: tuple[Note, ...] = ()  # on the image


class LesionScore(NamedTuple):
    """The score of one lesion, the mean over its views.

    Percentiles are those among the training lesions of the task.
    """

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


class ModelScores(NamedTuple):
    """The scores of one model for lesions that resemble the collection `task`."""

    model: Model
    task: str
    lesions: Sequence[LesionScore]


def score(
    model: Model, rows: Sequence[LesionRow], task: str | None = None, attribution: bool = True
) -> list[LesionScore]:
    """Score lesions in the order of their table, with attribution maps if `attribution`.

    `task` is the training collection whose output head and normalization are used, by default the
    target. Raises InputError, which gives the line of the table, if an image cannot be read, a box
    is outside it, or one image is listed twice for a lesion.
    """
    name = model.task(task)
    counts, outside, image_notes = _extract_rois(model, rows)
    scores, features = model.score_rois(counts, name)
    measurements = training_ranges.measure(
        counts,
        np.array([row.view.pixel_um for row in rows]),
        outside,
        np.array([_size_mm(row) for row in rows]),
    )
    modality = [row.view.modality for row in rows]
    flags = training_ranges.range_flags(model.about["training"][name], measurements, modality)
    for row, row_flags in zip(rows, flags, strict=True):
        if row.header.get("magnified"):
            row_flags.append(MAGNIFIED)
        if row.header.get("lossy"):
            row_flags.append("lossy compression was applied to the image")
    probabilities = model.probability(scores, "view", name)
    views = [
        ViewScore(
            row,
            float(scores[i]),
            float(probabilities[i]),
            tuple(flags[i]),
            counts[i],
            attribution_map(model, counts[i], name) if attribution else None,
            (*row.notes, *image_notes[i]),
        )
        for i, row in enumerate(rows)
    ]
    by_lesion: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        by_lesion.setdefault((row.view.case_id, row.view.lesion_id), []).append(i)
    return [
        _score_lesion(model, name, [views[i] for i in indices], features[indices].mean(0))
        for indices in by_lesion.values()
    ]


def attribution_map(model: Model, counts: np.ndarray, task: str | None = None) -> np.ndarray:
    """Return the attribution of each pixel of an ROI (128, 128) int16 to its log odds.

    Integrated gradients for the ROI in its original orientation only.
    """
    name = model.task(task)
    run = model.about["run"]
    gray = (counts.astype(np.float32) - run["input_mean"][name]) / run["input_std"][name]
    return integrated_gradients(model.network, model.params, gray, model.tasks.index(name), STEPS)


def _extract_rois(
    model: Model, rows: Sequence[LesionRow]
) -> tuple[np.ndarray, np.ndarray, list[tuple[Note, ...]]]:
    """Return ROIs (n, 128, 128) int16, the fraction (n,) of each outside its image, and the notes.

    Each image is read once.
    """
    by_image: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        key = row.view.image_path, row.view.frame, row.view.bits
        by_image.setdefault(key, []).append(i)
    counts = np.zeros((len(rows), 128, 128), np.int16)
    outside = np.zeros(len(rows))
    notes: list[tuple[Note, ...]] = [()] * len(rows)
    first_rows: dict[tuple, LesionRow] = {}
    patients: dict[tuple[str, str], set[str]] = {}
    for (path, frame, bits), indices in by_image.items():
        try:
            image = read_stored(path, frame, bits)
        except InputError as error:
            raise InputError(f"{rows[indices[0]].where}: {error}") from error
        digest = pixel_digest(image.values)
        for i in indices:
            row = rows[i]
            lesion = row.view.case_id, row.view.lesion_id
            patients.setdefault(lesion, set()).add(image.patient_id)
            first = first_rows.setdefault((*lesion, digest), row)
            if first is not row:
                raise InputError(
                    f"{row.where}: the same pixels as the image of {first.where}: the mean over the"
                    " views of the lesion would count them twice; delete one row"
                )
            try:
                extracted = bundles.cut_rois(image, [row.view], model.roi)
            except InputError as error:
                raise InputError(f"{row.where}: {error}") from error
            counts[i], outside[i] = extracted.rois[0], extracted.outside[0]
            notes[i] = extracted.notes[0]
    for i, row in enumerate(rows):
        if len(patients[row.view.case_id, row.view.lesion_id] - {""}) > 1:
            notes[i] += (PATIENTS_DIFFER,)
    return counts, outside, notes


def _size_mm(row: LesionRow) -> tuple[float, float]:
    """Return height and width of the box in mm."""
    top, left, bottom, right = row.view.box
    row_um, column_um = row.view.pixel_um
    return (bottom - top) * row_um / 1000, (right - left) * column_um / 1000


def _score_lesion(
    model: Model, task: str, views: Sequence[ViewScore], features: np.ndarray
) -> LesionScore:
    first = views[0].row.view
    # Not every row of a lesion need state its class; lesion_table.read rejects two classes.
    labels = [view.row.view.label for view in views]
    score = float(np.mean([view.score for view in views]))
    nearest = model.nearest(features)
    flags = list(dict.fromkeys(flag for view in views for flag in view.flags))
    max_distance = model.about["far"]
    if nearest and nearest[0].distance > max_distance:
        flags.append(
            f"far from all training lesions: distance in F4 {nearest[0].distance:.3g}, limit"
            f" {max_distance:.3g}"
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
