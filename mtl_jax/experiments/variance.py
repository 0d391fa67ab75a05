"""The variance of an AUC averaged over initializations, and of the difference of two such means.

Given the cases, the AUCs A_r of R initializations are independent and identically distributed:

    Var(mean) = S^2 / R + Cov2.

S^2 is the sample variance of A_r, which estimates E[Var(A_r | cases)]. Cov2 is the covariance of
two initializations over patients, which estimates Var(E[A_r | cases]). This is the multi-reader
multi-case problem with initializations as readers (Obuchowski and Rockette 1995, Commun Stat Simul
Comput 24:285; Gallas et al. 2009, Commun Stat Theory Methods 38:2586; Hillis 2014, Stat Med
33:330). Cov2 is the mean, over pairs of initializations, of the covariance by Obuchowski 1997
(Biometrics 53:567), clustered by patient.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from mtl_jax.roc.empirical import Z95

MIN_INITIALIZATIONS = 3  # with two, their variance has one degree of freedom


class Variance(NamedTuple):
    """The components of a variance over patients and between initializations; without an estimate
    of the latter it is None and `df` infinite."""

    patients: float
    initializations: float | None
    df: float

    @property
    def total(self) -> float:
        return self.patients + (self.initializations or 0.0)

    @property
    def quantile(self) -> float:
        return Z95 if np.isinf(self.df) else float(stdtrit(self.df, 0.975))

    def describe(self, patients: str) -> str:
        return patients if self.initializations is None else f"{patients} and initializations"


def variance_of_mean(covariance: np.ndarray, aucs: np.ndarray) -> Variance:
    """Return the variance of the mean of `aucs` (R,) from their covariance (R, R) over patients.

    If R is below three, it is the variance over patients alone.

    The degrees of freedom are (R - 1) / w, w the share of S^2 / R in the variance. Satterthwaite's
    (R - 1) / w^2 (Hillis 2008, Stat Med 27:596, for this variance) are too many if S^2 is small by
    chance: at R = 3 the coverage of the interval is then as low as 0.91. Both are right at w of 0
    and 1; the coverage between them is simulated (docs/roc.md).
    """
    count = len(aucs)
    if count < MIN_INITIALIZATIONS:
        return Variance(float(covariance.mean()), None, np.inf)
    between = float(aucs.var(ddof=1)) / count
    patients = (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    return _combine(max(float(patients), 0.0), [(between, count - 1)])


def variance_of_difference(
    covariance: np.ndarray, a: np.ndarray, b: np.ndarray, crossed: bool
) -> Variance:
    """Return the variance of mean(a) - mean(b).

    `covariance` over patients is that of the differences (crossed), or of the AUCs of `a` followed
    by those of `b` (nested), each with its own variance between initializations.
    """
    if crossed:
        return variance_of_mean(covariance, a - b)
    count = len(a)
    variance_a = variance_of_mean(covariance[:count, :count], a)
    variance_b = variance_of_mean(covariance[count:, count:], b)
    shared = float(covariance[:count, count:].mean())
    patients = max(variance_a.patients + variance_b.patients - 2 * shared, 0.0)
    between = [
        (variance.initializations, len(aucs) - 1)
        for variance, aucs in ((variance_a, a), (variance_b, b))
        if variance.initializations is not None
    ]
    return _combine(patients, between) if between else Variance(patients, None, np.inf)


def _combine(patients: float, between: Sequence[tuple[float, int]]) -> Variance:
    """Add the variances between initializations, each with its degrees of freedom, to that over
    patients; Satterthwaite's formula combines the degrees of freedom."""
    initializations = sum(variance for variance, _ in between)
    squares = sum(variance**2 / df for variance, df in between)
    df = np.inf
    if squares > 0:
        df = initializations**2 / squares * (patients + initializations) / initializations
    return Variance(patients, initializations, df)


def two_sided_p(statistic: float, df: float) -> float:
    """Return the two-sided p-value of a t statistic (of a normal one if `df` is infinite)."""
    return float(2 * stdtr(min(df, 1e12), -abs(statistic)))
