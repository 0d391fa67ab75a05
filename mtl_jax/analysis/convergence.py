"""Measure how far apart the features of different groups are.

The paper states from its figures that the features of the three tasks converge from F1 to F4. These
measures quantify it.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import pdist, squareform

GROUPS = 20  # groups of cases, left out in turn for the standard error


def distances(features: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances (n, n) between the rows of `features` (n, d)."""
    return squareform(pdist(np.asarray(features, np.float64)))


def silhouette(distance: np.ndarray, group: np.ndarray) -> float:
    """Return the mean silhouette of the groups, -1 to 1 (Rousseeuw 1987): near 0 they are mixed.

    NaN if there is only one group (n,), or one row of `distance` (n, n) per group.
    """
    # Imported here, because scikit-learn takes a second.
    from sklearn.metrics import silhouette_score

    sizes = np.unique(group, return_counts=True)[1]
    if len(sizes) < 2 or len(sizes) == len(group):
        return float("nan")
    return float(silhouette_score(distance, group, metric="precomputed"))


def maximum_mean_discrepancy(distance: np.ndarray, group: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy of two groups (Gretton 2012, eq. 3).

    The kernel is exp(-d^2 / 2 s^2) with the median distance s of all pairs. The expected value is 0
    for groups of one distribution, so the value may be negative by chance. `distance` (n, n),
    `group` (n,) of two values.
    """
    scale = np.median(distance[np.triu_indices(len(distance), 1)])
    kernel = np.exp(-0.5 * (distance / (scale or 1.0)) ** 2)
    first = group == np.unique(group)[0]
    m, n = int(first.sum()), int((~first).sum())
    if min(m, n) < 2:
        return float("nan")
    within = [
        (kernel[np.ix_(rows, rows)].sum() - count) / (count * (count - 1))
        for rows, count in ((first, m), (~first, n))
    ]
    return float(sum(within) - 2.0 * kernel[np.ix_(first, ~first)].mean())


def standard_error(
    measure: Callable[[np.ndarray, np.ndarray], float],
    distance: np.ndarray,
    group: np.ndarray,
    case: np.ndarray,
    seed: int,
) -> float:
    """Return the standard error of `measure(distance, group)` by the delete-d jackknife.

    Each of GROUPS random groups of cases is left out in turn (Shao and Wu 1989); `case` (n,) is the
    case of each row. NaN if the measure is NaN for a group.
    """
    cases = np.unique(case)
    count = min(GROUPS, len(cases))
    case_group = np.random.default_rng(seed).permutation(len(cases)) % count
    row_group = case_group[np.searchsorted(cases, case)]
    values = []
    for i in range(count):
        keep = row_group != i
        values.append(measure(distance[np.ix_(keep, keep)], group[keep]))
    deviations = np.array(values) - np.mean(values)
    return float(np.sqrt((count - 1) / count * np.sum(deviations**2)))
