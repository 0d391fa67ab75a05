"""Areas averaged over folds and seeds, and differences of two such, with patients as the unit that
varies. Reads no file and chooses nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from mtl_jax.roc.clustered import class_patients, covariance
from mtl_jax.roc.empirical import Z95, degenerate_status, logit_interval, newcombe_interval
from mtl_jax.roc.influence import of_empirical_area


class Part(NamedTuple):
    """The cases that one fold (or the test set) scores: label and patient (n,), and the scores
    (seeds, n) of each training."""

    label: np.ndarray
    patient: np.ndarray
    scores: np.ndarray


def mean_area(parts: Sequence[Part]) -> dict[str, Any]:
    """The mean over seeds and parts of the empirical area; `areas` has a list a seed.

    Its standard error is Obuchowski's (1997): a patient moves all seeds' areas of its part, and
    parts hold different patients. That the parts' networks share most of what they learned is left
    out, as is usual; another training may differ too: see `sd_seeds`.
    """
    areas, pulls = _areas(parts)
    auc = float(areas.mean())
    variance = _variance(parts, pulls, pulls)
    few = [sum(sizes) for sizes in zip(*map(_patients, parts), strict=True)]
    if variance is not None and variance[0, 0] > 1e-28 and 0 < auc < 1:
        se = float(np.sqrt(variance[0, 0]))
        low, high = logit_interval(auc, se)
        status = "ok"
    else:
        low, high = newcombe_interval(auc, *few)
        se = (high - low) / (2 * Z95)
        status = "sparse" if variance is None else degenerate_status(auc)
    return {
        "auc": auc,
        "se": se,
        "se_method": "Obuchowski",
        "ci_low": low,
        "ci_high": high,
        "ci_method": "symmetric on the logit of the mean area",
        "status": status,
        "areas": areas.tolist(),
        "sd_seeds": _sd(areas.mean(1)),
        "sd_folds": _sd(areas.mean(0)),
        "n_malignant": sum(int((p.label == 1).sum()) for p in parts),
        "n_benign": sum(int((p.label == 0).sum()) for p in parts),
        "n_cases": sum(len(np.unique(p.patient)) for p in parts),
    }


def mean_difference(a: Sequence[Part], b: Sequence[Part]) -> dict[str, Any]:
    """The difference of two mean areas of the same cases, tested as `mean_area` says."""
    for one, other in zip(a, b, strict=True):
        if not np.array_equal(one.label, other.label):
            raise ValueError("the two readings are of different cases")
    (areas_a, pulls_a), (areas_b, pulls_b) = _areas(a), _areas(b)
    auc_a, auc_b = float(areas_a.mean()), float(areas_b.mean())
    delta, variance = auc_a - auc_b, _variance(a, pulls_a, pulls_b)
    if variance is not None and variance[2, 2] > 1e-28:
        se, status = float(np.sqrt(variance[2, 2])), "ok"
    else:
        # As if the two were independent, which errs to the wide side.
        se = float(np.hypot(mean_area(a)["se"], mean_area(b)["se"]))
        status = "sparse" if variance is None else "undetermined"
    return {
        "auc_a": auc_a,
        "auc_b": auc_b,
        "delta": delta,
        "se": se,
        "p_value": float(2 * ndtr(-abs(delta / se))),
        "ci_low": max(delta - Z95 * se, -1.0),
        "ci_high": min(delta + Z95 * se, 1.0),
        "status": status,
    }


def _areas(parts: Sequence[Part]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Areas (seeds, parts), and for each part the influence (n,) of its cases on the mean area."""
    areas, pulls = [], []
    for part in parts:
        found = [of_empirical_area(part.label == 1, scores) for scores in part.scores]
        areas.append([area for area, _, _ in found])
        pulls.append(np.mean([pull for _, pull, _ in found], axis=0) / len(parts))
    return np.array(areas).T, pulls


def _variance(
    parts: Sequence[Part], a: Sequence[np.ndarray], b: Sequence[np.ndarray]
) -> np.ndarray | None:
    """Covariance (3, 3) of the mean areas and their difference; None where one patient alone holds
    a class of a part."""
    if min(min(_patients(part)) for part in parts) < 2:
        return None
    return np.sum(
        [
            covariance(part.label == 1, pulls, np.unique(part.patient, return_inverse=True)[1])
            for part, *pulls in zip(parts, a, b, strict=True)
        ],
        axis=0,
    )


def _patients(part: Part) -> tuple[int, int]:
    return class_patients(part.label == 1, np.unique(part.patient, return_inverse=True)[1])


def _sd(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None
