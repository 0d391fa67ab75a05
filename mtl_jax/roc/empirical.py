"""The empirical ROC curve and its AUC with DeLong's standard error."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtri

from mtl_jax.roc.inputs import check_scores

Z95 = float(ndtri(0.975))


@dataclass(frozen=True)
class Empirical:
    """The empirical AUC and ROC curve.

    Attributes
    ----------
    auc, se, ci_low, ci_high
        AUC, standard error, and 95% confidence interval.
    status
        ok; perfect (AUC 1), below_chance (AUC 0) or undetermined (another AUC with an estimated
        variance of 0): `se` is 0; sparse (one case in a class): `se` is Hanley and McNeil's. The
        interval is Newcombe's unless the status is ok.
    fpf, tpf, threshold : (points,)
        The curve from (0, 0) to (1, 1): the fractions of benign and of malignant cases with a score
        at or above each distinct score. The first threshold is inf.
    """

    auc: float
    se: float
    ci_low: float
    ci_high: float
    n_malignant: int
    n_benign: int
    status: str
    fpf: np.ndarray = field(repr=False, compare=False)
    tpf: np.ndarray = field(repr=False, compare=False)
    threshold: np.ndarray = field(repr=False, compare=False)


def empirical(labels: ArrayLike, scores: ArrayLike) -> Empirical:
    """Return the empirical AUC and ROC curve, in O(n log n).

    The confidence interval is symmetric on the logit scale.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Finite; higher is more malignant.

    Returns
    -------
    Empirical
        The AUC with its standard error, interval and status, and the curve.

    Raises
    ------
    ValueError
        If labels or scores are invalid.

    References
    ----------
    DeLong et al. 1988, Biometrics 44:837.
    """
    truth, values = check_scores(labels, scores)
    of_malignant, of_benign = placement_values(truth, values)
    m, n = len(of_malignant), len(of_benign)
    auc = float(np.clip(of_malignant.mean(), 0.0, 1.0))
    if min(m, n) == 1:
        status, se = "sparse", float(np.sqrt(hanley_variance(auc, m, n)))
    else:
        status, se = "ok", float(np.sqrt(of_malignant.var(ddof=1) / m + of_benign.var(ddof=1) / n))
        if se < 1e-14:  # rounding: one discordant pair in 1e13 gives more
            status, se = degenerate_status(auc), 0.0
    low, high = logit_interval(auc, se) if status == "ok" else newcombe_interval(auc, m, n)
    return Empirical(auc, se, low, high, m, n, status, *empirical_curve(truth, values))


def placement_values(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the placement values of the malignant (m,) and of the benign cases (n,).

    The placement value of a malignant case is the fraction of benign cases with a lower score, that
    of a benign case the fraction of malignant cases with a higher score; ties count one half. The
    mean of either is the AUC (Sun and Xu 2014, IEEE Signal Process Lett 21:1389).
    """
    malignant, benign = scores[truth], scores[~truth]
    return _fraction_below(malignant, benign), 1.0 - _fraction_below(benign, malignant)


def _fraction_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return twice / (2.0 * len(others))


def empirical_curve(
    truth: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return FPF, TPF and threshold (points,), in descending order of the threshold."""
    threshold, level = np.unique(scores, return_inverse=True)
    counts = [np.bincount(level[mask], minlength=len(threshold)) for mask in (~truth, truth)]
    fpf, tpf = (np.concatenate(([0.0], np.cumsum(c[::-1]) / c.sum())) for c in counts)
    return fpf, tpf, np.concatenate(([np.inf], threshold[::-1]))


def degenerate_status(auc: float) -> str:
    """Return the status of an AUC with an estimated variance of 0."""
    return {1.0: "perfect", 0.0: "below_chance"}.get(auc, "undetermined")


def logit_interval(auc: float, se: float, quantile: float = Z95) -> tuple[float, float]:
    """Return the 95% interval that is symmetric on the logit scale, for 0 < auc < 1.

    `quantile` is the 0.975 quantile of (estimate - AUC) / se (Pepe 2003, section 5.2.4).
    """
    half = quantile * se / (auc * (1.0 - auc))
    return float(expit(logit(auc) - half)), float(expit(logit(auc) + half))


def hanley_variance(auc: float, m: int, n: int) -> float:
    """Return the variance of an AUC by the exponential model of Hanley and McNeil 1982.

    Both class sizes are replaced by their mean (Newcombe 2006, Stat Med 25:559, method 5).
    """
    pairs = 1.0 + ((m + n) / 2.0 - 1.0) * ((1.0 - auc) / (2.0 - auc) + auc / (1.0 + auc))
    return auc * (1.0 - auc) * pairs / (m * n)


def newcombe_interval(auc: float, m: int, n: int) -> tuple[float, float]:
    """Return the 95% score interval, which is never empty (Newcombe 2006, method 5)."""

    def bisect(outside: float) -> float:
        inside = auc
        for _ in range(60):
            middle = (inside + outside) / 2.0
            if (auc - middle) ** 2 <= Z95**2 * hanley_variance(middle, m, n):
                inside = middle
            else:
                outside = middle
        return inside

    return bisect(0.0), bisect(1.0)
