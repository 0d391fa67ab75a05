"""Adjust the p-values of a family of tests."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return the p-values adjusted by Holm's step-down method, in the given order.

    The i-th smallest p-value (i = 1, ..., n) is multiplied by n - i + 1. Adjusted values are at
    most 1, and do not decrease with the p-value.

    Parameters
    ----------
    p_values : sequence of n floats
        The p-values of the family.

    Returns
    -------
    ndarray of shape (n,)
        The adjusted p-values.

    References
    ----------
    Holm 1979, Scand J Stat 6:65.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
