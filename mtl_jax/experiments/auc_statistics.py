"""AUCs averaged over folds and initializations, and differences of two such averages, with their
standard errors over patients and initializations.

Folds hold different patients: their covariances add up. That the networks of the folds share most
of their training cases is left out, as is usual. The variances are those of `variance`.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.experiments.variance import (
    Variance,
    two_sided_p,
    variance_of_difference,
    variance_of_mean,
)
from mtl_jax.roc.bootstrap import resampled_aucs
from mtl_jax.roc.clustered import class_patients, covariances
from mtl_jax.roc.compare import FITTED_STATUS
from mtl_jax.roc.empirical import Z95, degenerate_status, logit_interval, newcombe_interval
from mtl_jax.roc.influence import empirical_influence, proper_influence

PATIENTS = "patients (Obuchowski 1997)"
BOOTSTRAP = "patients (bootstrap)"
FIT_CACHE_SIZE = 2048
TINY = 1e-28  # a variance below it is rounding


class FoldScores(NamedTuple):
    """The cases that one fold (or the test set) scores: label and patient (n,), and the scores
    (R, n) of each initialization."""

    label: np.ndarray
    patient: np.ndarray
    scores: np.ndarray


class AucEstimates(NamedTuple):
    """AUCs (R, parts); for each part the influence values (R, n) of its cases on the mean over
    parts; and the status of each fit that is not ok."""

    aucs: np.ndarray
    influences: list[np.ndarray]
    failed: list[str]


def mean_auc(parts: Sequence[FoldScores], method: str = "empirical") -> dict[str, Any]:
    """Return the mean AUC over initializations and parts with its 95 % interval.

    `method` is 'empirical' or 'proper'. `aucs` has a list an initialization, an AUC a part.
    `var_initializations` is None with fewer than three initializations: the interval then holds the
    variance over patients alone.
    """
    found = _estimate(parts, method)
    auc = float(found.aucs.mean())
    covariance = _patient_covariance(parts, found.influences)
    spread = None if covariance is None else variance_of_mean(covariance, found.aucs.mean(axis=1))
    status = found.failed[0] if found.failed else "ok"
    if spread is not None and spread.total > TINY and 0 < auc < 1:
        se = float(np.sqrt(spread.total))
        low, high = logit_interval(auc, se, spread.quantile)
        interval = "symmetric on the logit" + ("" if np.isinf(spread.df) else ", t distribution")
    else:
        low, high = newcombe_interval(auc, *_class_sizes(parts))
        se, interval = (high - low) / (2 * Z95), "Newcombe 2006, counting patients"
        if status == "ok":
            status = "sparse" if spread is None else degenerate_status(auc)
        spread = spread and spread._replace(df=np.inf)
    fits = {"n_fits": found.aucs.size, "n_fits_failed": len(found.failed)}
    return {
        "auc": auc,
        "se": se,
        "se_method": (spread or Variance(0.0, None, np.inf)).sources(PATIENTS),
        "ci_low": low,
        "ci_high": high,
        "ci_method": interval,
        "df": _finite(spread.df) if spread else None,
        "var_patients": spread.patients if spread else None,
        "var_initializations": spread.initializations if spread else None,
        "status": status,
        "aucs": found.aucs.tolist(),
        "sd_initializations": _sd(found.aucs.mean(axis=1)),
        "sd_folds": _sd(found.aucs.mean(axis=0)),
        "n_malignant": sum(int((p.label == 1).sum()) for p in parts),
        "n_benign": sum(int((p.label == 0).sum()) for p in parts),
        "n_cases": sum(len(np.unique(p.patient)) for p in parts),
    } | (fits if method == "proper" else {})


def mean_difference(
    a: Sequence[FoldScores],
    b: Sequence[FoldScores],
    method: str = "obuchowski",
    crossed: bool = True,
    samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the difference of two mean AUCs of the same cases, a - b, with a two-sided test.

    `method` is 'obuchowski' (empirical AUCs), 'proper' (AUCs of proper fits) or 'bootstrap'
    (empirical AUCs, their covariance from `samples` resamples of the patients of each part).
    `crossed`: initialization r of both starts from the same weights, so that the variance between
    initializations is that of their differences; else both have their own. `p_value` is None with
    two initializations, whose variance cannot be estimated.
    """
    for one, other in zip(a, b, strict=True):
        if not np.array_equal(one.label, other.label):
            raise ValueError("the two readings are of different cases")
    of_auc = "proper" if method == "proper" else "empirical"
    first, second = _estimate(a, of_auc), _estimate(b, of_auc)
    starts = (len(first.aucs), len(second.aucs))
    crossed = crossed and starts[0] == starts[1]
    covariance = _joint_covariance(a, b, (first, second), crossed, method, samples, seed)
    means = first.aucs.mean(axis=1), second.aucs.mean(axis=1)
    auc_a, auc_b = (float(each.mean()) for each in means)
    delta = auc_a - auc_b
    spread = None
    if covariance is not None:
        spread = variance_of_difference(covariance, *means, crossed)
    failed = [status for status in first.failed + second.failed if status not in FITTED_STATUS]
    status = failed[0] if failed else "ok"
    if spread is not None and spread.total > TINY:
        se = float(np.sqrt(spread.total))
        half = spread.quantile * se
        low, high = max(delta - half, -1.0), min(delta + half, 1.0)
    else:
        status = "sparse" if spread is None else "undetermined"
        low, high = _independent_interval(delta, mean_auc(a, of_auc), mean_auc(b, of_auc))
        se, spread = (high - low) / (2 * Z95), Variance(0.0, None, np.inf)
    tested = 2 not in starts
    named = BOOTSTRAP if method == "bootstrap" else PATIENTS
    return {
        "auc_a": auc_a,
        "auc_b": auc_b,
        "delta": delta,
        "se": se,
        "se_method": spread.sources(named),
        "df": _finite(spread.df),
        "var_patients": spread.patients,
        "var_initializations": spread.initializations,
        "p_value": two_sided_p(delta / se, spread.df) if tested else None,
        "ci_low": low,
        "ci_high": high,
        "design": None if max(starts) == 1 else "crossed" if crossed else "nested",
        "status": status,
    }


def clear_fit_cache() -> None:
    """Free the fits that are kept for rows and tests of the same scores."""
    _proper.cache_clear()


def _joint_covariance(
    a: Sequence[FoldScores],
    b: Sequence[FoldScores],
    measured: tuple[AucEstimates, AucEstimates],
    crossed: bool,
    method: str,
    samples: int,
    seed: int,
) -> np.ndarray | None:
    """Covariance over patients of the differences (crossed) or of all readings of both."""
    if method != "bootstrap":
        rows = [
            one - other if crossed else np.concatenate([one, other])
            for one, other in zip(*(each.influences for each in measured), strict=True)
        ]
        return _patient_covariance(a, rows)
    aucs = 0.0
    for number, (one, other) in enumerate(zip(a, b, strict=True)):
        readings = [*one.scores, *other.scores]
        # Parts hold different patients, and are resampled apart.
        own = seed if number == 0 else [seed, number]
        drawn = resampled_aucs(one.label == 1, readings, _codes(one), samples, own)
        aucs = aucs + drawn / len(a)
    count = len(measured[0].aucs)
    return np.atleast_2d(np.cov(aucs[:count] - aucs[count:] if crossed else aucs))


@functools.lru_cache(maxsize=FIT_CACHE_SIZE)
def _proper(malignant: bytes, scores: bytes) -> tuple[float, np.ndarray, str]:
    """Return `proper_influence`, once for each table of scores: rows and tests of a study ask
    again."""
    return proper_influence(np.frombuffer(malignant, bool), np.frombuffer(scores))


def _estimate(parts: Sequence[FoldScores], method: str) -> AucEstimates:
    aucs, influences, failed = [], [], []
    for part in parts:
        truth = part.label == 1
        found = [
            _proper(truth.tobytes(), np.float64(scores).tobytes())
            if method == "proper"
            else empirical_influence(truth, scores)
            for scores in part.scores
        ]
        aucs.append([area for area, _, _ in found])
        influences.append(np.array([influence for _, influence, _ in found]) / len(parts))
        failed += [status for _, _, status in found if status != "ok"]
    return AucEstimates(np.array(aucs).T, influences, failed)


def _patient_covariance(
    parts: Sequence[FoldScores], influences: Sequence[np.ndarray]
) -> np.ndarray | None:
    """Covariance (k, k) over patients; None where one patient alone holds a class of a part."""
    if min(min(_class_patients(part)) for part in parts) < 2:
        return None
    return np.sum(
        [
            covariances(part.label == 1, own, _codes(part))
            for part, own in zip(parts, influences, strict=True)
        ],
        axis=0,
    )


def _independent_interval(
    delta: float, a: dict[str, Any], b: dict[str, Any]
) -> tuple[float, float]:
    """Interval of a difference from those of both AUCs (Zou and Donner 2008, Stat Med 27:1693)."""
    low = np.hypot(a["auc"] - a["ci_low"], b["ci_high"] - b["auc"])
    high = np.hypot(a["ci_high"] - a["auc"], b["auc"] - b["ci_low"])
    return float(delta - low), float(delta + high)


def _class_sizes(parts: Sequence[FoldScores]) -> list[int]:
    return [sum(sizes) for sizes in zip(*map(_class_patients, parts), strict=True)]


def _class_patients(part: FoldScores) -> tuple[int, int]:
    return class_patients(part.label == 1, _codes(part))


def _codes(part: FoldScores) -> np.ndarray:
    return np.unique(part.patient, return_inverse=True)[1]


def _finite(df: float) -> float | None:
    return None if np.isinf(df) else float(df)


def _sd(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
