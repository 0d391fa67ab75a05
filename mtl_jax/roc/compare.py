"""Test the difference of two AUCs of the same cases."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from mtl_jax.roc.bootstrap import resampled_aucs
from mtl_jax.roc.clustered import class_patients, covariance
from mtl_jax.roc.empirical import Z95, newcombe_interval
from mtl_jax.roc.influence import empirical_influence, proper_influence
from mtl_jax.roc.inputs import check_scores, encode_ids

METHODS = ("delong", "proper", "obuchowski", "bootstrap")
FITTED_STATUS = ("ok", "boundary")  # a fit with another status is reported


@dataclass(frozen=True)
class Comparison:
    """The difference of two AUCs of the same cases.

    Two sets of scores with the same ranks have delta, se and z 0 and p_value 1.

    Attributes
    ----------
    delta, se, z, p_value, ci_low, ci_high
        auc_a - auc_b, its standard error, delta / se, the two-sided p-value, and the 95% confidence
        interval of delta.
    correlation
        Of the two AUCs.
    n_clusters
        Number of patients.
    status
        ok; with method 'proper' also the status of a fit that is neither ok nor boundary, and then
        the standard error is that of the empirical AUC (except for not_converged); sparse (only one
        patient has cases of a class) or undetermined (the estimated variance is 0):
        the interval then combines Newcombe's intervals of the AUCs as if they were independent (Zou
        and Donner 2008, Stat Med 27:1693), which is conservative; `se` is its half-width / 1.96.
    """

    auc_a: float
    auc_b: float
    delta: float
    se: float
    z: float
    p_value: float
    ci_low: float
    ci_high: float
    correlation: float
    method: str
    n_malignant: int
    n_benign: int
    n_clusters: int
    status: str


def compare(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    method: str = "delong",
    clusters: ArrayLike | None = None,
    allow_repeats: bool = False,
    samples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Return a paired test of two sets of scores of the same cases.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores_a, scores_b : array-like of shape (n,)
        Finite; higher is more malignant.
    method : {'delong', 'proper', 'obuchowski', 'bootstrap'}
        DeLong's test of the empirical AUCs; the AUCs of proper binormal fits with the covariance of
        their influence values; Obuchowski's extension of DeLong's test to clusters; the bootstrap
        of the empirical AUCs over patients.
    clusters : array-like of shape (n,), optional
        Patient ids. Without them each case is its own patient.
    allow_repeats : bool
        Allow 'delong' for patients with several cases, which it treats as independent.
    samples : int
        Number of bootstrap resamples, at least 2.
    seed : int
        Seed of the resamples, at least 0.

    Returns
    -------
    Comparison
        The difference of the AUCs with its standard error, interval, p-value and status.

    Raises
    ------
    ValueError
        If labels, scores, ids, method, `samples` or `seed` are invalid, or a patient has several
        cases with 'delong'.

    References
    ----------
    DeLong et al. 1988, Biometrics 44:837; Obuchowski 1997, Biometrics 53:567; White 1982,
    Econometrica 50:1 (influence values of a fit).
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is invalid: expected one of {', '.join(METHODS)}")
    truth, a = check_scores(labels, scores_a, "scores_a")
    b = check_scores(labels, scores_b, "scores_b")[1]
    patient = encode_ids(clusters, len(a))
    if method == "delong":
        _reject_repeats(patient, allow_repeats)
        patient = np.arange(len(a))
    n_patients = class_patients(truth, patient)
    influence_of = proper_influence if method == "proper" else empirical_influence
    auc_a, influence_a, status_a = influence_of(truth, a)
    auc_b, influence_b, status_b = influence_of(truth, b)
    status = status_b if status_a in FITTED_STATUS else status_a
    status = "ok" if status in FITTED_STATUS else status
    auc_covariance = np.zeros((3, 3))
    if method == "bootstrap":
        aucs_a, aucs_b = resampled_aucs(truth, [a, b], patient, samples, seed)
        auc_covariance = np.cov([aucs_a, aucs_b, aucs_a - aucs_b])
    elif min(n_patients) > 1:
        auc_covariance = covariance(truth, (influence_a, influence_b), patient)
    sizes = (int(truth.sum()), int((~truth).sum()), int(patient.max()) + 1)
    same_ranks = np.array_equal(*(np.unique(s, return_inverse=True)[1] for s in (a, b)))
    return _make_comparison(
        (auc_a, auc_b), auc_covariance, method, sizes, n_patients, same_ranks, status
    )


def _reject_repeats(patient: np.ndarray, allowed: bool) -> None:
    max_cases = int(np.bincount(patient).max())
    if max_cases > 1 and not allowed:
        raise ValueError(
            f"clusters: a patient has up to {max_cases} cases, which 'delong' treats as"
            " independent; use method 'obuchowski', 'proper' or 'bootstrap', or set allow_repeats"
        )


def _make_comparison(
    aucs: tuple[float, float],
    auc_covariance: np.ndarray,
    method: str,
    sizes: tuple[int, int, int],
    n_patients: tuple[int, int],
    same_ranks: bool,
    status: str,
) -> Comparison:
    auc_a, auc_b = aucs
    delta = auc_a - auc_b
    variance = float(auc_covariance[2, 2])
    scale = float(np.sqrt(max(auc_covariance[0, 0], 0.0) * max(auc_covariance[1, 1], 0.0)))
    correlation = float(np.clip(auc_covariance[0, 1] / scale, -1.0, 1.0)) if scale > 0 else 0.0
    is_sparse = min(n_patients) == 1
    if same_ranks:
        delta, se, low, high, correlation = 0.0, 0.0, 0.0, 0.0, 1.0
    elif variance > 1e-28 and not is_sparse:
        se = float(np.sqrt(variance))
        low, high = max(delta - Z95 * se, -1.0), min(delta + Z95 * se, 1.0)
    else:
        status = "sparse" if is_sparse else "undetermined"
        (low_a, high_a), (low_b, high_b) = (newcombe_interval(v, *n_patients) for v in aucs)
        low = delta - float(np.hypot(auc_a - low_a, high_b - auc_b))
        high = delta + float(np.hypot(high_a - auc_a, auc_b - low_b))
        se = (high - low) / (2.0 * Z95)
    z = delta / se if se > 0 else 0.0
    p_value = float(2.0 * ndtr(-abs(z)))
    return Comparison(auc_a, auc_b, delta, se, z, p_value, low, high, correlation, method,
                      *sizes, status)  # fmt: skip
