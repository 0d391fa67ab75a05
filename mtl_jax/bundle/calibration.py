"""Calibrate scores to probabilities by Platt scaling, and assess the calibration."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from mtl_jax import roc

EPSILON = 1e-6  # a float32 score can be 0 or 1, whose logit is infinite
N_BOOTSTRAP = 1000
MIN_ROWS_PER_BIN = 10  # with fewer the calibration error is mostly noise


class LabelledScores(NamedTuple):
    """Views or lesions: label (n,) int, score (n,) float, case (n,) str and fold (n,) int."""

    label: np.ndarray
    score: np.ndarray
    case: np.ndarray
    fold: np.ndarray


def fit(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """Return slope a and intercept b of P(malignant) = 1 / (1 + exp(-(a logit(score) + b))).

    The fit is by maximum likelihood with the smoothed targets of Platt 1999, section 2.2 (Lin, Lin
    and Weng 2007, Mach. Learn. 68:267). The scores are probabilities already, so it is on their
    logits: a = 1 and b = 0 leave them unchanged.
    """
    malignant, x = np.asarray(labels) == 1, _logit(scores)
    m, n = int(malignant.sum()), int((~malignant).sum())
    target = np.where(malignant, (m + 1) / (m + 2), 1 / (n + 2))

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        z = ab[0] * x + ab[1]
        value = -(target * log_expit(z) + (1 - target) * log_expit(-z)).sum()
        slope = expit(z) - target
        return float(value), np.array([(slope * x).sum(), slope.sum()])

    fitted = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
    return float(fitted.x[0]), float(fitted.x[1])


def is_increasing(a: float, scores: ArrayLike) -> bool:
    """Return whether slope `a` is positive and the scores are not all equal."""
    return bool(np.isfinite(a) and a > 0 and np.ptp(_logit(scores)) > 0)


def apply(a: float, b: float, scores: ArrayLike) -> np.ndarray:
    """Return the calibrated probabilities of scores."""
    return expit(a * _logit(scores) + b)


def cross_fit(scored: LabelledScores) -> np.ndarray:
    """Return the probability (n,) of each row, calibrated on the other folds only."""
    probability = np.empty(len(scored.label))
    for fold in np.unique(scored.fold):
        rows = scored.fold == fold
        a, b = fit(scored.label[~rows], scored.score[~rows])
        probability[rows] = apply(a, b, scored.score[rows])
    return probability


def assess(
    on: str, labels: ArrayLike, probabilities: ArrayLike, cases: Sequence[str] | np.ndarray
) -> dict[str, Any]:
    """Measure the calibration of probabilities (n,) on the cases that `on` describes.

    Intervals are percentiles of a bootstrap over patients: of the expected calibration error, the
    Brier score, and the fraction malignant minus the mean probability (calibration in the large).
    `if_perfect` is the mean error of labels drawn from the probabilities themselves, well above 0
    with few cases.
    """
    labels, p = np.asarray(labels, int), np.asarray(probabilities, float)
    rng = np.random.default_rng(0)
    bins = int(np.clip(len(labels) // MIN_ROWS_PER_BIN, 2, 10))
    observed = roc.calibration(labels, p, bins)
    _, case = np.unique(np.asarray(cases), return_inverse=True)
    members = [np.flatnonzero(case == i) for i in range(case.max() + 1)]
    resampled, perfect = [], []
    for _ in range(N_BOOTSTRAP):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        measured = roc.calibration(labels[rows], p[rows], bins)
        difference = float((labels[rows] - p[rows]).mean())
        resampled.append((measured.expected_error, measured.brier, difference))
    for _ in range(N_BOOTSTRAP):
        simulated = (rng.random(len(p)) < p).astype(int)
        perfect.append(roc.calibration(simulated, p, bins).expected_error)
    low, high = np.percentile(resampled, (2.5, 97.5), axis=0).tolist()
    return {
        "on": on,
        "n_malignant": int(labels.sum()),
        "n_benign": int((1 - labels).sum()),
        "brier": observed.brier,
        "brier_ci_low": low[1],
        "brier_ci_high": high[1],
        "mean_probability": float(p.mean()),
        "fraction_malignant": float(labels.mean()),
        "difference": float((labels - p).mean()),
        "difference_ci_low": low[2],
        "difference_ci_high": high[2],
        "expected_error": observed.expected_error,
        "ci_low": low[0],
        "ci_high": high[0],
        "if_perfect": float(np.mean(perfect)),
        "predicted": observed.predicted.tolist(),
        "observed": observed.observed.tolist(),
        "count": observed.count.tolist(),
    }


def _logit(scores: ArrayLike) -> np.ndarray:
    return logit(np.clip(np.asarray(scores, float), EPSILON, 1 - EPSILON))
