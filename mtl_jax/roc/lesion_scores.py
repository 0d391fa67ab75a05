"""Average the scores of views by lesion."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc.inputs import check_scores, encode_ids


class LesionScores(NamedTuple):
    """Labels (n,) int, mean scores (n,) float, and the ids of case and lesion (n,) of each lesion.

    The lesions are in the order of their first view.
    """

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
    """Return the mean score over the views of each lesion.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant, for each view.
    scores : array-like of shape (n,)
        Finite; the score of each view.
    cases, lesions : array-like of shape (n,)
        The id of the case, and of the lesion within the case.

    Returns
    -------
    LesionScores
        One entry per lesion, in the order of their first view.

    Raises
    ------
    ValueError
        If an input is invalid, or the views of a lesion have different labels.

    References
    ----------
    Samala et al. 2017, section 2.
    """
    truth, values = check_scores(labels, scores)
    n = len(values)
    case, lesion = encode_ids(cases, n, "cases"), encode_ids(lesions, n, "lesions")
    case_lesion = case * (lesion.max() + 1) + lesion
    _, first, member = np.unique(case_lesion, return_index=True, return_inverse=True)
    n_views = np.bincount(member)
    n_malignant = np.bincount(member, truth)
    mixed = np.flatnonzero((n_malignant > 0) & (n_malignant < n_views))
    if len(mixed):
        i = int(first[mixed].min())
        raise ValueError(
            f"labels: {len(mixed)} lesions have two labels; the first is lesion"
            f" {np.asarray(lesions)[i]} of case {np.asarray(cases)[i]} at index {i}; correct one"
        )
    order = np.argsort(first)
    rows = first[order]
    means = (np.bincount(member, values) / n_views)[order]
    return LesionScores(
        truth[rows].astype(int), means, np.asarray(cases)[rows], np.asarray(lesions)[rows]
    )
