"""AUCs with standard errors clustered by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mtl_jax.roc.clustered import class_patients, covariances
from mtl_jax.roc.empirical import Z95, degenerate_status, logit_interval, newcombe_interval
from mtl_jax.roc.influence import empirical_influence, proper_influence
from mtl_jax.roc.inputs import check_scores, encode_ids

METHODS = ("empirical", "proper")


@dataclass(frozen=True)
class AucInterval:
    """An AUC with its standard error and 95% confidence interval, clustered by patient.

    `status` is ok or, with method 'proper', that of `Proper`. It is perfect, below_chance or
    undetermined if the estimated variance is 0, and sparse if only one patient has cases of a
    class; the interval is then Newcombe's with the numbers of patients.
    """

    auc: float
    se: float
    ci_low: float
    ci_high: float
    n_malignant: int
    n_benign: int
    n_patients: int
    status: str


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    clusters: Sequence | np.ndarray | None = None,
    method: str = "empirical",
) -> AucInterval:
    """Return the AUC with a standard error that accounts for clustering by patient.

    Parameters
    ----------
    labels : array-like of shape (n,)
        0 benign, 1 malignant.
    scores : array-like of shape (n,)
        Finite; higher is more malignant.
    clusters : array-like of shape (n,), optional
        Patient ids. Without them each case is its own patient.
    method : {'empirical', 'proper'}
        The empirical AUC, or that of the proper binormal fit.

    Returns
    -------
    AucInterval
        The AUC with its standard error, interval and status.

    Raises
    ------
    ValueError
        If labels, scores, ids or method are invalid.

    References
    ----------
    Obuchowski 1997, Biometrics 53:567; for the proper fit, applied to its influence values (White
    1982, Econometrica 50:1).
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r} is invalid: expected one of {', '.join(METHODS)}")
    truth, values = check_scores(labels, scores)
    patient = encode_ids(clusters, len(values))
    influence_of = proper_influence if method == "proper" else empirical_influence
    auc, influence, status = influence_of(truth, values)
    n_patients = class_patients(truth, patient)
    sizes = (int(truth.sum()), int((~truth).sum()), int(patient.max()) + 1)
    is_sparse = min(n_patients) < 2
    variance = 0.0 if is_sparse else float(covariances(truth, influence[None], patient)[0, 0])
    if variance > 1e-28 and 0 < auc < 1:
        se = float(np.sqrt(variance))
        return AucInterval(auc, se, *logit_interval(auc, se), *sizes, status)
    low, high = newcombe_interval(auc, *n_patients)
    if status == "ok":
        status = "sparse" if is_sparse else degenerate_status(auc)
    return AucInterval(auc, (high - low) / (2 * Z95), low, high, *sizes, status)


def may_headline(status: str, empirical_auc: float) -> bool:
    """Return whether the AUC of a proper fit may be the main result.

    A proper curve is never below the diagonal, so it does not describe scores with an empirical AUC
    below 0.5.

    Parameters
    ----------
    status : str
        The status of the fit, which must be ok.
    empirical_auc : float
        The empirical AUC of the same scores, which must be at least 0.5.

    Returns
    -------
    bool
        True if both conditions hold.
    """
    return status == "ok" and empirical_auc >= 0.5
