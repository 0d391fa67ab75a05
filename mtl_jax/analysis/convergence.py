"""How far features of different groups lie apart, in numbers.

The paper says by eye that the three tasks' features come together from F1 to F4; these say how far.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score

GROUPS = 20  # of cases, left out in turn for the standard error


def distances(features: np.ndarray) -> np.ndarray:
    """Euclidean distances (n, n) between the rows of `features` (n, d)."""
    return squareform(pdist(np.asarray(features, np.float64)))


def silhouette(distance: np.ndarray, group: np.ndarray) -> float:
    """Return mean silhouette of the groups, -1 to 1 (Rousseeuw 1987): near 1 they lie apart, near
    0 they are mixed. `distance` (n, n), `group` (n,) with at least two values. NaN where one is
    left."""
    sizes = np.unique(group, return_counts=True)[1]
    if len(sizes) < 2 or len(sizes) == len(group):
        return float("nan")
    return float(silhouette_score(distance, group, metric="precomputed"))


def discrepancy(distance: np.ndarray, group: np.ndarray) -> float:
    """Squared maximum mean discrepancy of two groups, without bias (Gretton et al. 2012, eq. 3).

    The kernel is exp(-d^2 / 2 s^2), s the median distance of all pairs: 0 where both are drawn
    from one distribution, below it by chance. `distance` (n, n), `group` (n,) of two values.
    """
    spread = np.median(distance[np.triu_indices(len(distance), 1)])
    kernel = np.exp(-0.5 * (distance / (spread or 1.0)) ** 2)
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
    """Of `measure`(distance, group), by leaving out each of GROUPS groups of cases (the delete-d
    jackknife, Shao and Wu 1989). The rows of a case leave together. NaN where it cannot be said."""
    cases = np.unique(case)
    count = min(GROUPS, len(cases))
    part = np.random.default_rng(seed).permutation(len(cases)) % count
    of_row = part[np.searchsorted(cases, case)]
    found = []
    for i in range(count):
        keep = of_row != i
        found.append(measure(distance[np.ix_(keep, keep)], group[keep]))
    values = np.array(found)
    return float(np.sqrt((count - 1) / count * np.sum((values - values.mean()) ** 2)))
