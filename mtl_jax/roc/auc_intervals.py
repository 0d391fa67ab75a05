"""The AUC of one reading with patients as the unit that varies."""

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
    """An AUC with its standard error and 95 % interval over patients.

    `status` is ok; with 'proper' what `Proper` says of the fit; perfect, below_chance or
    undetermined where the cases do not vary, and sparse where one patient alone holds a class: the
    interval is then Newcombe's, counting patients.
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
    """Return the AUC of scores (n,) with a standard error that respects clustering by patient.

    Parameters
    ----------
    labels, scores : (n,)
        0 benign, 1 malignant; finite scores, higher is more malignant.
    clusters : (n,), optional
        Patient ids; None: every case is a patient.
    method : {'empirical', 'proper'}
        The empirical AUC, or that of the proper binormal fit.

    Raises
    ------
    ValueError
        As `inputs.check` and `inputs.codes` do, or for an unknown method.

    References
    ----------
    Obuchowski 1997, Biometrics 53:567; for the fit with the influence values of `compare`.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    truth, values = check_scores(labels, scores)
    patient = encode_ids(clusters, len(values))
    of_area = proper_influence if method == "proper" else empirical_influence
    auc, influence, status = of_area(truth, values)
    with_classes = class_patients(truth, patient)
    sizes = (int(truth.sum()), int((~truth).sum()), int(patient.max()) + 1)
    few = min(with_classes) < 2
    variance = 0.0 if few else float(covariances(truth, influence[None], patient)[0, 0])
    if variance > 1e-28 and 0 < auc < 1:
        se = float(np.sqrt(variance))
        return AucInterval(auc, se, *logit_interval(auc, se), *sizes, status)
    low, high = newcombe_interval(auc, *with_classes)
    if status == "ok":
        status = "sparse" if few else degenerate_status(auc)
    return AucInterval(auc, (high - low) / (2 * Z95), low, high, *sizes, status)


def may_headline(status: str, empirical_auc: float) -> bool:
    """Return whether the AUC of a proper fit may stand as the headline: its status is ok, and the
    scores do not rank benign cases above malignant ones, which a proper curve cannot show."""
    return status == "ok" and empirical_auc >= 0.5
