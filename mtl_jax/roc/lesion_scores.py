"""Turns scores of views into scores of lesions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc.inputs import check_scores, encode_ids


class LesionScores(NamedTuple):
    """One entry a lesion, in order of first appearance: labels (n,) int, scores (n,) float,
    cases (n,) and lesions (n,) the ids as given."""

    labels: np.ndarray
    scores: np.ndarray
    cases: np.ndarray
    lesions: np.ndarray


def view_to_lesion(
    labels: ArrayLike,
    scores: ArrayLike,
    cases: Sequence | np.ndarray,
    lesions: Sequence | np.ndarray,
) -> LesionScores:
    """Return mean score over the views of each (case, lesion); Samala 2017, section 2.

    Raises ValueError for a lesion whose views disagree on the truth, and as `inputs.check` and
    `inputs.codes` do.
    """
    truth, values = check_scores(labels, scores)
    n = len(values)
    case, lesion = encode_ids(cases, n, "cases"), encode_ids(lesions, n, "lesions")
    pair = case * (lesion.max() + 1) + lesion
    _, first, member = np.unique(pair, return_index=True, return_inverse=True)
    views = np.bincount(member)
    malignant = np.bincount(member, truth)
    mixed = np.flatnonzero((malignant > 0) & (malignant < views))
    if len(mixed):
        at = int(first[mixed].min())
        raise ValueError(
            f"labels: {len(mixed)} lesions have both truths, the first is lesion "
            f"{np.asarray(lesions)[at]} of case {np.asarray(cases)[at]} at index {at}"
        )
    order = np.argsort(first)
    at = first[order]
    means = (np.bincount(member, values) / views)[order]
    return LesionScores(
        truth[at].astype(int), means, np.asarray(cases)[at], np.asarray(lesions)[at]
    )
