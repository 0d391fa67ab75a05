"""The table of scores: written, read, put together, by view or lesion. Holds no statistics."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl_jax import roc
from mtl_jax.nouns import RoiSet


class Scores(NamedTuple):
    """A row a region: its ids (n,) str, label (n,) int and score (n,) float32, the probability of
    malignant averaged over the eight orientations."""

    roi_id: np.ndarray
    case_id: np.ndarray
    lesion_id: np.ndarray
    view: np.ndarray
    task: np.ndarray
    label: np.ndarray
    score: np.ndarray

    def of(self, keep: np.ndarray) -> "Scores":
        return Scores(*(column[keep] for column in self))


def make_scores(rois: RoiSet, rows: np.ndarray, score: np.ndarray) -> Scores:
    """Scores of these rows of a collection."""
    ids = [rois.index[name][rows].astype(str) for name in Scores._fields[:4]]
    task = np.full(len(rows), rois.name)
    return Scores(*ids, task, rois.index["label"][rows].astype(int), np.float32(score))


def by_unit(scores: Scores, unit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and case ids, one a view or one a lesion (the mean over its views)."""
    if unit == "view":
        return scores.label, scores.score, scores.case_id
    lesions = roc.view_to_lesion(scores.label, scores.score, scores.case_id, scores.lesion_id)
    return lesions.labels, lesions.scores, lesions.cases


def join(tables: Sequence[Scores]) -> Scores:
    return Scores(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


def write(path: Path, scores: Scores) -> None:
    """scores.csv, under its name only when whole. Nine digits give a float32 back to the bit."""
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Scores._fields)
        for *ids, label, score in zip(*scores, strict=True):
            table.writerow([*ids, label, f"{score:.9g}"])
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read(path: Path) -> Scores:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = [np.array([row[name] for row in rows], dtype=str) for name in Scores._fields]
    return Scores(*text[:5], text[5].astype(int), text[6].astype(np.float32))
