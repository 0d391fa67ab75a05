"""Scores as probabilities: a logistic curve from out-of-fold scores, and how well it holds.

It reads no files and knows no network.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from mtl_jax import roc

EDGE = 1e-6  # a float32 score can be 0 or 1, whose logit is infinite
SAMPLES = 1000
ROWS_A_BIN = 10  # fewer make a ragged curve and an error that is mostly noise


class LabelledScores(NamedTuple):
    """Of views or lesions: label (n,) int, score (n,) float, case (n,) str and fold (n,) int."""

    label: np.ndarray
    score: np.ndarray
    case: np.ndarray
    fold: np.ndarray


def fit(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float]:
    """a and b of P(malignant) = 1 / (1 + exp(-(a logit(score) + b))).

    Maximum likelihood on Platt's smoothed targets (Platt 1999, sec. 2.2; Lin, Lin and Weng 2007,
    Mach Learn 68:267), here on the logit of a score that is a probability already: a = 1, b = 0
    changes nothing.
    """
    truth, x = np.asarray(labels) == 1, _logit(scores)
    m, n = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (m + 1) / (m + 2), 1 / (n + 2))

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        z = ab[0] * x + ab[1]
        value = -(target * log_expit(z) + (1 - target) * log_expit(-z)).sum()
        slope = expit(z) - target
        return float(value), np.array([(slope * x).sum(), slope.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
    return float(found.x[0]), float(found.x[1])


def is_increasing(a: float, scores: ArrayLike) -> bool:
    """Whether the curve of slope `a` rises with these scores, which are not all the same."""
    return bool(np.isfinite(a) and a > 0 and np.ptp(_logit(scores)) > 0)


def apply(a: float, b: float, scores: ArrayLike) -> np.ndarray:
    return expit(a * _logit(scores) + b)


def cross_fit(scored: LabelledScores) -> np.ndarray:
    """Probability (n,) of each row by a curve fitted to the other folds alone."""
    found = np.empty(len(scored.label))
    for fold in np.unique(scored.fold):
        held = scored.fold == fold
        found[held] = apply(*fit(scored.label[~held], scored.score[~held]), scored.score[held])
    return found


def assess(
    on: str, labels: ArrayLike, probabilities: ArrayLike, cases: Sequence[str] | np.ndarray
) -> dict[str, Any]:
    """How well `probabilities` hold on the rows described by `on`.

    `expected_error` is that of `mtl_jax.roc.calibration`, with a 95 % interval over patients and
    `if_perfect`, the mean that labels drawn by these very probabilities give: with few cases it is
    well above 0.
    """
    truth, p = np.asarray(labels, int), np.asarray(probabilities, float)
    rng = np.random.default_rng(0)
    bins = int(np.clip(len(truth) // ROWS_A_BIN, 2, 10))
    found = roc.calibration(truth, p, bins)
    _, case = np.unique(np.asarray(cases), return_inverse=True)
    members = [np.flatnonzero(case == i) for i in range(case.max() + 1)]
    errors, perfect = [], []
    while len(errors) < SAMPLES:
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if 0 < truth[rows].sum() < len(rows):
            errors.append(roc.calibration(truth[rows], p[rows], bins).expected_error)
    while len(perfect) < SAMPLES:
        drawn = (rng.random(len(p)) < p).astype(int)
        if 0 < drawn.sum() < len(drawn):
            perfect.append(roc.calibration(drawn, p, bins).expected_error)
    low, high = np.percentile(errors, (2.5, 97.5))
    return {
        "on": on,
        "n_malignant": int(truth.sum()),
        "n_benign": int((1 - truth).sum()),
        "brier": found.brier,
        "expected_error": found.expected_error,
        "ci_low": float(low),
        "ci_high": float(high),
        "if_perfect": float(np.mean(perfect)),
        "predicted": found.predicted.tolist(),
        "observed": found.observed.tolist(),
        "count": found.count.tolist(),
    }


def _logit(scores: ArrayLike) -> np.ndarray:
    return logit(np.clip(np.asarray(scores, float), EDGE, 1 - EDGE))
