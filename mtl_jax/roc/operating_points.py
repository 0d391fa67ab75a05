"""Thresholds and calibration of scores."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc.empirical import Z95, empirical_curve
from mtl_jax.roc.inputs import check_scores


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold (call malignant at or above it; inf: never) with its sensitivity and
    specificity on the data, each with Wilson's 95 % interval, and Youden's index."""

    threshold: float
    sensitivity: float
    sensitivity_interval: tuple[float, float]
    specificity: float
    specificity_interval: tuple[float, float]
    youden: float


@dataclass(frozen=True)
class Calibration:
    """Brier score, expected calibration error, and per bin (bins,) mean score, observed fraction
    malignant and number of cases."""

    brier: float
    expected_error: float
    predicted: np.ndarray = field(repr=False, compare=False)
    observed: np.ndarray = field(repr=False, compare=False)
    count: np.ndarray = field(repr=False, compare=False)


def operating_point(
    labels: ArrayLike, scores: ArrayLike, sensitivity: float | None = None
) -> OperatingPoint:
    """Return the threshold with the highest Youden index (Youden 1950, Cancer 3:32), or the
    strictest that reaches `sensitivity`, in (0, 1]. Raises ValueError as `inputs.check` does.

    The threshold is chosen on the data it is judged on: both fractions are optimistic.
    """
    truth, values = check_scores(labels, scores)
    fpf, tpf, threshold = empirical_curve(truth, values)
    if sensitivity is None:
        at = int(np.argmax(tpf - fpf))
    elif 0.0 < sensitivity <= 1.0:
        at = int(np.argmax(tpf >= sensitivity))
    else:
        raise ValueError(f"sensitivity must be above 0 and at most 1, not {sensitivity}")
    return _make_point(truth, float(threshold[at]), float(tpf[at]), float(1.0 - fpf[at]))


def at_threshold(labels: ArrayLike, scores: ArrayLike, threshold: float) -> OperatingPoint:
    """Return what `threshold`, chosen on other data, gives on these: fractions without optimism.

    Raises ValueError as `inputs.check` does.
    """
    truth, values = check_scores(labels, scores)
    called = values >= threshold
    return _make_point(
        truth, threshold, float(called[truth].mean()), float((~called)[~truth].mean())
    )


def _make_point(truth: np.ndarray, threshold: float, sens: float, spec: float) -> OperatingPoint:
    m, n = int(truth.sum()), int((~truth).sum())
    return OperatingPoint(
        threshold, sens, wilson(sens, m), spec, wilson(spec, n), sens + spec - 1.0
    )


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a binomial share of n (Wilson 1927, J Am Stat Assoc 22:209)."""
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def calibration(labels: ArrayLike, scores: ArrayLike, bins: int = 10) -> Calibration:
    """Return how well scores in [0, 1] serve as probabilities of malignancy, in bins of about equal
    numbers of cases, equal scores always in one bin (Murphy and Winkler 1977, Appl Stat 26:41).

    Raises ValueError as `inputs.check` does, and for scores outside [0, 1] or fewer than one bin.
    """
    truth, values = check_scores(labels, scores)
    if values.min() < 0.0 or values.max() > 1.0:
        at = int(np.argmax((values < 0.0) | (values > 1.0)))
        raise ValueError(f"scores must be probabilities; {values[at]:g} at index {at} is none")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    rank = np.searchsorted(np.sort(values), values, "left")  # equal scores share a rank
    member = np.unique(rank * bins // len(values), return_inverse=True)[1]
    count = np.bincount(member)
    predicted, observed = (np.bincount(member, x) / count for x in (values, truth))
    gap = float((count * np.abs(predicted - observed)).sum() / len(values))
    return Calibration(float(((values - truth) ** 2).mean()), gap, predicted, observed, count)
