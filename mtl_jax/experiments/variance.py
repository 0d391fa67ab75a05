"""The variance of an AUC averaged over initializations, and of the difference of two.

Given the cases, the AUCs A_r of R initializations are independent and alike, so that

    Var(mean) = S^2 / R + Cov2,

S^2 the sample variance of A_r, which estimates E[Var(A_r | cases)], and Cov2 the covariance of two
initializations over patients, which estimates Var(E[A_r | cases]). This is the multi-reader
multi-case problem with initializations as readers (Obuchowski and Rockette 1995, Commun Stat Simul
Comput 24:285; Gallas et al. 2009, Commun Stat Theory Methods 38:2586; Hillis 2014, Stat Med
33:330).
Cov2 is the mean over pairs of initializations of the covariance by Obuchowski 1997 (Biometrics
53:567), clustered by patient.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from mtl_jax.roc.empirical import Z95

MIN_INITIALIZATIONS = (
    3  # initializations from which their variance is estimated: two give one degree of freedom
)


class Variance(NamedTuple):
    """The variance of a mean by its sources; `initializations` is None where it is left out; `df`
    is infinite where no variance between initializations is estimated."""

    patients: float
    initializations: float | None
    df: float

    @property
    def total(self) -> float:
        return self.patients + (self.initializations or 0.0)

    @property
    def quantile(self) -> float:
        return Z95 if np.isinf(self.df) else float(stdtrit(self.df, 0.975))

    def sources(self, patients: str) -> str:
        return patients if self.initializations is None else f"{patients} and initializations"


def variance_of_mean(covariance: np.ndarray, means: np.ndarray) -> Variance:
    """Return the variance of the mean of `means` (R,), whose covariance (R, R) over patients is
    given: that over patients alone where R is below three.

    The degrees of freedom are (R - 1) / w, w the share of S^2 / R in the variance. Satterthwaite's
    (R - 1) / w^2 (Hillis 2008, Stat Med 27:596, for this variance) are too many where S^2 is small
    by chance: at R = 3 the interval then holds the truth in as little as 0.91. Both are right at w
    of 0 and 1; coverage between them is simulated (docs/roc.md).
    """
    count = len(means)
    if count < MIN_INITIALIZATIONS:
        return Variance(float(covariance.mean()), None, np.inf)
    own = float(means.var(ddof=1)) / count
    pairs = (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    return _combine(max(float(pairs), 0.0), [(own, count - 1)])


def _combine(patients: float, between: Sequence[tuple[float, int]]) -> Variance:
    """Return the sum of a variance over patients and of those between initializations, each with
    its degrees of freedom, which Satterthwaite's formula joins."""
    own = sum(variance for variance, _ in between)
    squares = sum(variance**2 / df for variance, df in between)
    df = own**2 / squares * (patients + own) / own if squares > 0 else np.inf
    return Variance(patients, own, df)


def variance_of_difference(
    covariance: np.ndarray, a: np.ndarray, b: np.ndarray, crossed: bool
) -> Variance:
    """Crossed: of the differences, one an initialization. Nested: `covariance` is that of all
    readings, those of `a` before those of `b`; each side has its own variance between
    initializations, and any two of different sides are a pair."""
    if crossed:
        return variance_of_mean(covariance, a - b)
    count = len(a)
    sides = [
        variance_of_mean(covariance[:count, :count], a),
        variance_of_mean(covariance[count:, count:], b),
    ]
    shared = float(covariance[:count, count:].mean())
    patients = max(sum(side.patients for side in sides) - 2 * shared, 0.0)
    between = [
        (side.initializations, len(means) - 1)
        for side, means in zip(sides, (a, b), strict=True)
        if side.initializations is not None
    ]
    return _combine(patients, between) if between else Variance(patients, None, np.inf)


def two_sided_p(statistic: float, df: float) -> float:
    """Return the two-sided p-value of a t statistic; of a normal one where df is infinite."""
    return float(2 * stdtr(min(df, 1e12), -abs(statistic)))
