"""Tests the difference of two areas measured on the same cases."""

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
FITTED_STATUS = ("ok", "boundary")  # statuses of a fit whose own influence values are used


@dataclass(frozen=True)
class Comparison:
    """Two areas on the same cases: delta = auc_a - auc_b, z = delta/se, two-sided p_value, 95 %
    interval of delta, and the correlation of the two areas.

    `status` is ok; with 'proper' also what `Proper` says of a fit that is neither ok nor boundary,
    the standard error then being that of the empirical area; sparse (only one patient holds a
    class) or undetermined (the cases do not vary): there the interval of delta joins Newcombe's
    interval of each area as if independent (Zou and Donner 2008, Stat Med 27:1693), which errs to
    the wide side, and se is its half-width over 1.96. Readings that rank all cases alike have
    delta, se and z 0, p_value 1.
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
    """Paired test of two readings of the same cases.

    `clusters` (n,) are patient ids; None: every case is a patient. Methods: 'delong' (DeLong
    1988), rejected when a patient has several cases unless `allow_repeats` is set, which then
    ignores the patients; 'proper', areas of proper binormal fits, their covariance from the
    influence of each patient on them; 'obuchowski' (Obuchowski 1997), DeLong's test for clusters;
    'bootstrap' of the empirical areas over patients, with `samples` and `seed`.
    Raises ValueError as `inputs.check` and `inputs.codes` do, or for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    truth, a = check_scores(labels, scores_a, "scores_a")
    b = check_scores(labels, scores_b, "scores_b")[1]
    patient = encode_ids(clusters, len(a))
    if method == "delong":
        _reject_repeats(patient, allow_repeats)
        patient = np.arange(len(a))
    with_classes = class_patients(truth, patient)
    of_area = proper_influence if method == "proper" else empirical_influence
    (area_a, moves_a, status_a), (area_b, moves_b, status_b) = (of_area(truth, s) for s in (a, b))
    status = status_b if status_a in FITTED_STATUS else status_a
    status = "ok" if status in FITTED_STATUS else status
    spread = np.zeros((3, 3))
    if method == "bootstrap":
        of_a, of_b = resampled_aucs(truth, [a, b], patient, samples, seed)
        spread = np.cov([of_a, of_b, of_a - of_b])
    elif min(with_classes) > 1:
        spread = covariance(truth, (moves_a, moves_b), patient)
    sizes = (int(truth.sum()), int((~truth).sum()), int(patient.max()) + 1)
    alike = np.array_equal(*(np.unique(s, return_inverse=True)[1] for s in (a, b)))
    return _make_comparison((area_a, area_b), spread, method, sizes, with_classes, alike, status)


def _reject_repeats(patient: np.ndarray, allowed: bool) -> None:
    most = int(np.bincount(patient).max())
    if most > 1 and not allowed:
        raise ValueError(
            f"clusters: a patient has up to {most} cases, which 'delong' would count as "
            "independent; use method 'obuchowski', 'proper' or 'bootstrap', or set allow_repeats"
        )


def _make_comparison(
    aucs: tuple[float, float],
    spread: np.ndarray,
    method: str,
    sizes: tuple[int, int, int],
    with_classes: tuple[int, int],
    alike: bool,
    status: str,
) -> Comparison:
    auc_a, auc_b = aucs
    delta = auc_a - auc_b
    variance = float(spread[2, 2])
    scale = float(np.sqrt(max(spread[0, 0], 0.0) * max(spread[1, 1], 0.0)))
    correlation = float(np.clip(spread[0, 1] / scale, -1.0, 1.0)) if scale > 0 else 0.0
    few = min(with_classes) == 1
    if alike:
        delta, se, low, high, correlation = 0.0, 0.0, 0.0, 0.0, 1.0
    elif variance > 1e-28 and not few:
        se = float(np.sqrt(variance))
        low, high = max(delta - Z95 * se, -1.0), min(delta + Z95 * se, 1.0)
    else:
        status = "sparse" if few else "undetermined"
        (low_a, high_a), (low_b, high_b) = (newcombe_interval(v, *with_classes) for v in aucs)
        low = delta - float(np.hypot(auc_a - low_a, high_b - auc_b))
        high = delta + float(np.hypot(high_a - auc_a, auc_b - low_b))
        se = (high - low) / (2.0 * Z95)
    z = delta / se if se > 0 else 0.0
    p_value = float(2.0 * ndtr(-abs(z)))
    return Comparison(auc_a, auc_b, delta, se, z, p_value, low, high, correlation, method,
                      *sizes, status)  # fmt: skip
