"""The empirical ROC curve and its area with DeLong's standard error."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtri

from mtl_jax.roc.inputs import check_scores

Z95 = float(ndtri(0.975))


@dataclass(frozen=True)
class Empirical:
    """The empirical area and curve.

    `fpf`, `tpf` and `threshold` (points,) run from (0, 0) to (1, 1): the fractions of benign and
    malignant cases scored at or above each threshold, one point per distinct score, so that ties
    between truths are straight slopes; the first threshold is inf. `status` is ok; perfect (AUC
    1), below_chance (AUC 0) or undetermined (any other AUC whose cases do not vary): se is 0;
    sparse (one case in a class): se is Hanley and McNeil's. In all but ok the interval is
    Newcombe's.
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
    """Area, standard error (DeLong 1988, Biometrics 44:837) and 95 % interval in O(n log n).

    `labels` (n,) 0 benign, 1 malignant; `scores` (n,) finite, higher more malignant. The interval
    is symmetric on the logit of the area. Raises ValueError as `inputs.check` does.
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
    """Return each malignant case's fraction of benign cases below it (m,), and each benign case's
    fraction of malignant cases above it (n,), ties counting one half (Sun and Xu 2014, IEEE
    Signal Process Lett 21:1389); both average to the AUC."""
    malignant, benign = scores[truth], scores[~truth]
    return _fraction_below(malignant, benign), 1.0 - _fraction_below(benign, malignant)


def _fraction_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return twice / (2.0 * len(others))


def empirical_curve(
    truth: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False and true positive fraction and threshold (points,), from the strictest down."""
    threshold, level = np.unique(scores, return_inverse=True)
    counts = [np.bincount(level[kind], minlength=len(threshold)) for kind in (~truth, truth)]
    fpf, tpf = (np.concatenate(([0.0], np.cumsum(c[::-1]) / c.sum())) for c in counts)
    return fpf, tpf, np.concatenate(([np.inf], threshold[::-1]))


def degenerate_status(auc: float) -> str:
    """Return what to call an area whose estimated variance is zero."""
    return {1.0: "perfect", 0.0: "below_chance"}.get(auc, "undetermined")


def logit_interval(auc: float, se: float, quantile: float = Z95) -> tuple[float, float]:
    """95 % interval, symmetric on the logit scale, for 0 < auc < 1 (Pepe 2003, sec. 5.2.4);
    `quantile` is the 0.975 quantile of the distribution that (estimate - AUC) / se has."""
    half = quantile * se / (auc * (1.0 - auc))
    return float(expit(logit(auc) - half)), float(expit(logit(auc) + half))


def hanley_variance(auc: float, m: int, n: int) -> float:
    """Variance of an area from its value alone, exponential model with both class sizes at their
    mean (Newcombe 2006, Stat Med 25:559, method 5, after Hanley and McNeil 1982)."""
    pairs = 1.0 + ((m + n) / 2.0 - 1.0) * ((1.0 - auc) / (2.0 - auc) + auc / (1.0 + auc))
    return auc * (1.0 - auc) * pairs / (m * n)


def newcombe_interval(auc: float, m: int, n: int) -> tuple[float, float]:
    """95 % score interval, finite and never empty even at AUC 0 or 1 (Newcombe 2006, method 5)."""

    def end(outer: float) -> float:
        near, far = auc, outer  # the areas not rejected are those from auc to the end
        for _ in range(60):
            middle = (near + far) / 2.0
            inside = (auc - middle) ** 2 <= Z95**2 * hanley_variance(middle, m, n)
            near, far = (middle, far) if inside else (near, middle)
        return near

    return end(0.0), end(1.0)
