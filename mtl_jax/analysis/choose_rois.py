"""Which ROIs an analysis looks at, by rules that are stated and need no eye."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtl_jax.types import InputError, RoiSet

# The extremes of each truth: (name, label, highest score first).
KINDS = (
    ("malignant, scored highest", 1, True),
    ("malignant, scored lowest", 1, False),
    ("benign, scored lowest", 0, False),
    ("benign, scored highest", 0, True),
)


class Chosen(NamedTuple):
    """A row an ROI: collection (n,) str, its row there (n,) int, whether it was learned (n,)
    bool, and whether t-SNE and the measures of convergence take it (n,) bool."""

    task: np.ndarray
    row: np.ndarray
    learned: np.ndarray
    sampled: np.ndarray


def choose(
    learned: Mapping[str, np.ndarray],
    target: str,
    scored: np.ndarray,
    pictured: np.ndarray,
    count: int,
    seed: int,
) -> Chosen:
    """At most `count` learned ROIs of each collection and as many `scored` ones of the target,
    at random, which are sampled; and after them those of the target that are only `pictured`."""
    rng, parts = np.random.default_rng(seed), []
    for task, rows in learned.items():
        parts.append((task, _some(rows, count, rng), True, True))
    unseen = _some(scored, count, rng)
    parts.append((target, unseen, False, True))
    parts.append((target, np.setdiff1d(pictured, unseen), False, False))
    columns = [
        np.concatenate([np.full(len(part[1]), part[i]) if i != 1 else part[1] for part in parts])
        for i in range(4)
    ]
    return Chosen(*columns)


def extremes(label: np.ndarray, score: np.ndarray, count: int) -> list[tuple[str, int]]:
    """Return (kind, row) of the `count` ROIs at each of the four ends of KINDS; the first of
    equals.

    `score` (n,) is the mean over the approaches, so that all are asked about the same ROIs.
    """
    found = []
    for name, truth, highest in KINDS:
        rows = np.flatnonzero(label == truth)
        order = np.argsort(-score[rows] if highest else score[rows], kind="stable")
        found += [(name, int(row)) for row in rows[order[:count]]]
    seen: set[int] = set()
    return [(n, r) for n, r in found if not (r in seen or seen.add(r))]


def find_rois(rois: RoiSet, wanted: Sequence[str]) -> list[tuple[str, int]]:
    """Return (kind, row) of the ROIs that config.analysis.roi_ids names. InputError for an unknown
    id."""
    row = {str(name): i for i, name in enumerate(rois.index["roi_id"])}
    unknown = [name for name in wanted if name not in row]
    if unknown:
        raise InputError(
            f"config.analysis.roi_ids names {unknown[0]!r}, which is no roi_id of "
            f"{rois.name}; they "
            "stand in the scores.csv of its runs and in index.csv of its shards"
        )
    return [("asked for", row[name]) for name in wanted]


def _some(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(rows)[:count])
