"""Intervals of sensitivity, specificity and other proportions, clustered by patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc.empirical import Z95
from mtl_jax.roc.inputs import encode_ids


@dataclass(frozen=True)
class Proportion:
    """A proportion with its 95% interval, the number of cases and the number of patients."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    n_patients: int


def proportion(outcomes: ArrayLike, clusters: ArrayLike | None = None) -> Proportion:
    """Return a proportion with Wilson's interval, clustered by patient.

    The interval is that of the effective sample size, n divided by the design effect, the ratio of
    the variance between patients to that of independent cases, at least 1. If the proportion is 0
    or 1, or there is one patient, the variance cannot be estimated and each patient counts as one
    case.

    Parameters
    ----------
    outcomes : array-like of shape (n,)
        True or 1 for each case that counts, such as a malignant lesion that is called malignant.
    clusters : array-like of shape (n,), optional
        Patient ids. Without them each case is its own patient.

    Returns
    -------
    Proportion
        The fraction of True outcomes, its interval and the sample sizes.

    Raises
    ------
    ValueError
        If there is no case, or an id is missing.

    References
    ----------
    Wilson 1927, J Am Stat Assoc 22:209; Rao and Scott 1992, Biometrics 48:577 (clusters).
    """
    hits = np.asarray(outcomes, bool)
    if hits.ndim != 1 or not len(hits):
        raise ValueError(f"outcomes: expected (n,) with n >= 1; the shape is {hits.shape}")
    patient = encode_ids(clusters, len(hits))
    n, n_patients, value = len(hits), int(patient.max()) + 1, float(hits.mean())
    effective = float(n_patients)
    if 0.0 < value < 1.0 and n_patients > 1:
        residuals = np.bincount(patient, hits - value)
        variance = n_patients / (n_patients - 1) * float((residuals**2).sum()) / n**2
        effective = n / max(variance * (n - 1) / (value * (1.0 - value)), 1.0)
    return Proportion(value, *wilson(value, effective), n, n_patients)


def wilson(value: float, n: float) -> tuple[float, float]:
    """Return the 95% interval of a binomial proportion (Wilson 1927, J Am Stat Assoc 22:209)."""
    middle = (value + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    variance = value * (1 - value) / n + Z95**2 / (4 * n * n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(variance)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))
