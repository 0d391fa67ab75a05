"""Operating points and calibration of scores."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc.empirical import empirical_curve
from mtl_jax.roc.inputs import check_scores, encode_ids
from mtl_jax.roc.proportion import proportion


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold with its sensitivity and specificity, their Wilson 95% intervals, and the Youden
    index. Cases at or above the threshold are positive; inf: none."""

    threshold: float
    sensitivity: float
    sensitivity_interval: tuple[float, float]
    specificity: float
    specificity_interval: tuple[float, float]
    youden: float


@dataclass(frozen=True)
class Calibration:
    """Brier score, expected calibration error, and per bin (bins,) the mean score, the fraction
    of malignant cases and the number of cases."""

    brier: float
    expected_error: float
    predicted: np.ndarray = field(repr=False, compare=False)
    observed: np.ndarray = field(repr=False, compare=False)
    count: np.ndarray = field(repr=False, compare=False)


def operating_point(
    labels: ArrayLike, scores: ArrayLike, sensitivity: float | None = None
) -> OperatingPoint:
    """Return the operating point with the highest Youden index, or with a given sensitivity.

    Sensitivity and specificity are optimistic, because the threshold is chosen on the same data.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Finite; higher is more malignant.
    sensitivity : float, optional
        In (0, 1]: choose the highest threshold with at least this sensitivity.

    Returns
    -------
    OperatingPoint
        The threshold with its sensitivity and specificity on these data.

    Raises
    ------
    ValueError
        If labels, scores or `sensitivity` are invalid.

    References
    ----------
    Youden 1950, Cancer 3:32; Wilson 1927, J Am Stat Assoc 22:209 (the intervals).
    """
    truth, values = check_scores(labels, scores)
    fpf, tpf, threshold = empirical_curve(truth, values)
    if sensitivity is None:
        i = int(np.argmax(tpf - fpf))
    elif 0.0 < sensitivity <= 1.0:
        i = int(np.argmax(tpf >= sensitivity))
    else:
        raise ValueError(f"sensitivity={sensitivity} is invalid: expected a number in (0, 1]")
    return _make_point(truth, values, float(threshold[i]))


def at_threshold(
    labels: ArrayLike, scores: ArrayLike, threshold: float, clusters: ArrayLike | None = None
) -> OperatingPoint:
    """Return the operating point of a threshold that was chosen on other data.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Finite; higher is more malignant.
    threshold : float
        Cases with a score at or above it are positive.
    clusters : array-like of shape (n,), optional
        Patient ids, for intervals clustered by patient. Without them each case is its own patient.

    Returns
    -------
    OperatingPoint
        Sensitivity and specificity on these data, with their intervals.

    Raises
    ------
    ValueError
        If labels, scores or ids are invalid.

    References
    ----------
    Wilson 1927, J Am Stat Assoc 22:209 (the intervals); for clusters `proportion`.
    """
    truth, values = check_scores(labels, scores)
    return _make_point(truth, values, threshold, clusters)


def _make_point(
    truth: np.ndarray, values: np.ndarray, threshold: float, clusters: ArrayLike | None = None
) -> OperatingPoint:
    patient, positive = encode_ids(clusters, len(truth)), values >= threshold
    sensitivity = proportion(positive[truth], patient[truth])
    specificity = proportion(~positive[~truth], patient[~truth])
    return OperatingPoint(
        threshold,
        sensitivity.value,
        (sensitivity.ci_low, sensitivity.ci_high),
        specificity.value,
        (specificity.ci_low, specificity.ci_high),
        sensitivity.value + specificity.value - 1.0,
    )


def calibration(labels: ArrayLike, scores: ArrayLike, bins: int = 10) -> Calibration:
    """Return the calibration of scores as probabilities of malignancy.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Probabilities of malignancy, in [0, 1].
    bins : int
        Number of bins with about equal numbers of cases. Equal scores are in one bin.

    Returns
    -------
    Calibration
        Brier score, expected calibration error, and the values of each bin.

    Raises
    ------
    ValueError
        If labels, scores or `bins` are invalid.

    References
    ----------
    Murphy and Winkler 1977, Appl Stat 26:41.
    """
    truth, values = check_scores(labels, scores, both_classes=False)
    if not len(values):
        raise ValueError("scores: no case; expected at least one")
    if values.min() < 0.0 or values.max() > 1.0:
        i = int(np.argmax((values < 0.0) | (values > 1.0)))
        raise ValueError(
            f"scores: {values[i]:g} at index {i} is not a probability in [0, 1];"
            " calibrate the scores first"
        )
    if bins < 1:
        raise ValueError(f"bins={bins} is invalid: expected an integer >= 1")
    rank = np.searchsorted(np.sort(values), values, "left")  # equal scores share a rank
    member = np.unique(rank * bins // len(values), return_inverse=True)[1]
    count = np.bincount(member)
    predicted, observed = (np.bincount(member, x) / count for x in (values, truth))
    gap = float((count * np.abs(predicted - observed)).sum() / len(values))
    return Calibration(float(((values - truth) ** 2).mean()), gap, predicted, observed, count)
