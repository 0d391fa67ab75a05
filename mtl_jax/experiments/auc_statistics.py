"""Mean AUCs over folds and initializations, and differences of two of them, with standard errors.

Folds have different patients, so that their covariances over patients are added. As usual, the
dependence between folds whose training sets overlap is ignored.
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
MIN_VARIANCE = 1e-28  # a smaller variance is a rounding error


class FoldScores(NamedTuple):
    """Labels (n,) and patients (n,) of the cases of one fold or of the test set, and their scores
    (R, n) in each initialization."""

    label: np.ndarray
    patient: np.ndarray
    scores: np.ndarray


class AucEstimates(NamedTuple):
    """AUCs (R, folds), the influence values (R, n) of the cases of each fold on the mean over
    folds, and the status of each fit that is not ok."""

    aucs: np.ndarray
    influences: list[np.ndarray]
    failed: list[str]


def mean_auc(folds: Sequence[FoldScores], method: str = "empirical") -> dict[str, Any]:
    """Return the mean AUC over initializations and folds with its 95% confidence interval.

    `method` is 'empirical' or 'proper'. `aucs[r][k]` is the AUC of initialization r in fold k.
    With fewer than three initializations `var_initializations` is None, and the interval accounts
    for the variance over patients alone.
    """
    estimates = _estimate(folds, method)
    auc = float(estimates.aucs.mean())
    covariance = _patient_covariance(folds, estimates.influences)
    mean_aucs = estimates.aucs.mean(axis=1)
    variance = None if covariance is None else variance_of_mean(covariance, mean_aucs)
    status = estimates.failed[0] if estimates.failed else "ok"
    if variance is not None and variance.total > MIN_VARIANCE and 0 < auc < 1:
        se = float(np.sqrt(variance.total))
        low, high = logit_interval(auc, se, variance.quantile)
        ci_method = "symmetric on the logit" + ("" if np.isinf(variance.df) else ", t distribution")
    else:
        low, high = newcombe_interval(auc, *_n_patients_by_class(folds))
        se, ci_method = (high - low) / (2 * Z95), "Newcombe 2006, counting patients"
        if status == "ok":
            status = "sparse" if variance is None else degenerate_status(auc)
        variance = variance and variance._replace(df=np.inf)
    fits = {"n_fits": estimates.aucs.size, "n_fits_failed": len(estimates.failed)}
    return {
        "auc": auc,
        "se": se,
        "se_method": variance.describe(PATIENTS) if variance else PATIENTS,
        "ci_low": low,
        "ci_high": high,
        "ci_method": ci_method,
        "df": _finite(variance.df) if variance else None,
        "var_patients": variance.patients if variance else None,
        "var_initializations": variance.initializations if variance else None,
        "status": status,
        "aucs": estimates.aucs.tolist(),
        "sd_initializations": _sd(mean_aucs),
        "sd_folds": _sd(estimates.aucs.mean(axis=0)),
        "n_malignant": sum(int((fold.label == 1).sum()) for fold in folds),
        "n_benign": sum(int((fold.label == 0).sum()) for fold in folds),
        "n_cases": sum(len(np.unique(fold.patient)) for fold in folds),
    } | (fits if method == "proper" else {})


def mean_difference(
    a: Sequence[FoldScores],
    b: Sequence[FoldScores],
    method: str = "obuchowski",
    crossed: bool = True,
    samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the difference a - b of two mean AUCs of the same cases, with a two-sided test.

    `method` is 'obuchowski' (empirical AUCs), 'proper' (AUCs of proper fits) or 'bootstrap'
    (empirical AUCs, their covariance from `samples` resamples of the patients of each fold).
    If `crossed`, initialization r of both starts from the same weights, and the variance between
    initializations is that of the differences; otherwise the variances of both are added. With two
    initializations `p_value` is None, because one degree of freedom is too few.
    """
    for fold_a, fold_b in zip(a, b, strict=True):
        if not np.array_equal(fold_a.label, fold_b.label):
            raise ValueError("a and b are scores of different cases")
    auc_method = "proper" if method == "proper" else "empirical"
    estimates = _estimate(a, auc_method), _estimate(b, auc_method)
    counts = [len(estimate.aucs) for estimate in estimates]
    crossed = crossed and counts[0] == counts[1]
    covariance = _joint_covariance(a, b, estimates, crossed, method, samples, seed)
    aucs_a, aucs_b = (estimate.aucs.mean(axis=1) for estimate in estimates)
    auc_a, auc_b = float(aucs_a.mean()), float(aucs_b.mean())
    delta = auc_a - auc_b
    variance = None
    if covariance is not None:
        variance = variance_of_difference(covariance, aucs_a, aucs_b, crossed)
    failed = [s for estimate in estimates for s in estimate.failed if s not in FITTED_STATUS]
    status = failed[0] if failed else "ok"
    if variance is not None and variance.total > MIN_VARIANCE:
        se = float(np.sqrt(variance.total))
        half_width = variance.quantile * se
        low, high = max(delta - half_width, -1.0), min(delta + half_width, 1.0)
    else:
        status = "sparse" if variance is None else "undetermined"
        low, high = _independent_interval(delta, mean_auc(a, auc_method), mean_auc(b, auc_method))
        se, variance = (high - low) / (2 * Z95), Variance(0.0, None, np.inf)
    return {
        "auc_a": auc_a,
        "auc_b": auc_b,
        "delta": delta,
        "se": se,
        "se_method": variance.describe(BOOTSTRAP if method == "bootstrap" else PATIENTS),
        "df": _finite(variance.df),
        "var_patients": variance.patients,
        "var_initializations": variance.initializations,
        "p_value": None if 2 in counts else two_sided_p(delta / se, variance.df),
        "ci_low": low,
        "ci_high": high,
        "design": None if max(counts) == 1 else "crossed" if crossed else "nested",
        "status": status,
    }


def clear_fit_cache() -> None:
    """Free the cached proper fits."""
    _cached_proper_influence.cache_clear()


def _joint_covariance(
    a: Sequence[FoldScores],
    b: Sequence[FoldScores],
    estimates: tuple[AucEstimates, AucEstimates],
    crossed: bool,
    method: str,
    samples: int,
    seed: int,
) -> np.ndarray | None:
    """Return the covariance over patients of the differences (crossed) or of all AUCs."""
    if method != "bootstrap":
        influences = [
            fold_a - fold_b if crossed else np.concatenate([fold_a, fold_b])
            for fold_a, fold_b in zip(*(e.influences for e in estimates), strict=True)
        ]
        return _patient_covariance(a, influences)
    aucs = 0.0
    for number, (fold_a, fold_b) in enumerate(zip(a, b, strict=True)):
        scores = [*fold_a.scores, *fold_b.scores]
        # Folds have different patients and are resampled independently.
        fold_seed = seed if number == 0 else [seed, number]
        codes = _patient_codes(fold_a)
        aucs = aucs + resampled_aucs(fold_a.label == 1, scores, codes, samples, fold_seed) / len(a)
    count = len(estimates[0].aucs)
    return np.atleast_2d(np.cov(aucs[:count] - aucs[count:] if crossed else aucs))


@functools.lru_cache(maxsize=FIT_CACHE_SIZE)
def _cached_proper_influence(malignant: bytes, scores: bytes) -> tuple[float, np.ndarray, str]:
    """Return `proper_influence`; the same scores are in several rows and tests of a study."""
    return proper_influence(np.frombuffer(malignant, bool), np.frombuffer(scores))


def _estimate(folds: Sequence[FoldScores], method: str) -> AucEstimates:
    aucs, influences, failed = [], [], []
    for fold in folds:
        truth = fold.label == 1
        estimates = [
            _cached_proper_influence(truth.tobytes(), np.float64(scores).tobytes())
            if method == "proper"
            else empirical_influence(truth, scores)
            for scores in fold.scores
        ]
        fold_aucs, fold_influences, statuses = zip(*estimates, strict=True)
        aucs.append(fold_aucs)
        influences.append(np.array(fold_influences) / len(folds))
        failed += [status for status in statuses if status != "ok"]
    return AucEstimates(np.array(aucs).T, influences, failed)


def _patient_covariance(
    folds: Sequence[FoldScores], influences: Sequence[np.ndarray]
) -> np.ndarray | None:
    """Return the covariance (k, k) over patients, or None if a class of a fold has one patient."""
    if min(min(_class_patients(fold)) for fold in folds) < 2:
        return None
    return np.sum(
        [
            covariances(fold.label == 1, influence, _patient_codes(fold))
            for fold, influence in zip(folds, influences, strict=True)
        ],
        axis=0,
    )


def _independent_interval(
    delta: float, a: dict[str, Any], b: dict[str, Any]
) -> tuple[float, float]:
    """Return the interval of a difference from those of both AUCs, treated as independent (Zou and
    Donner 2008, Stat Med 27:1693)."""
    low = np.hypot(a["auc"] - a["ci_low"], b["ci_high"] - b["auc"])
    high = np.hypot(a["ci_high"] - a["auc"], b["auc"] - b["ci_low"])
    return float(delta - low), float(delta + high)


def _n_patients_by_class(folds: Sequence[FoldScores]) -> list[int]:
    """Return how many patients have a malignant case, and how many a benign one."""
    return [sum(sizes) for sizes in zip(*map(_class_patients, folds), strict=True)]


def _class_patients(fold: FoldScores) -> tuple[int, int]:
    return class_patients(fold.label == 1, _patient_codes(fold))


def _patient_codes(fold: FoldScores) -> np.ndarray:
    return np.unique(fold.patient, return_inverse=True)[1]


def _finite(df: float) -> float | None:
    return None if np.isinf(df) else float(df)


def _sd(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
