"""Adjust the p-values of a family of tests."""

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm's step-down adjusted p-values (n,), in the order of `p_values`.

    The i-th smallest p-value (i = 1, ..., n) is multiplied by n - i + 1. Adjusted values are at
    most 1, and do not decrease with the p-value.

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
