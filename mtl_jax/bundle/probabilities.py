"""Compute the calibration and operating points of a bundle from out-of-fold scores."""

from typing import Any

import numpy as np

from mtl_jax import roc
from mtl_jax.bundle import calibration
from mtl_jax.bundle.out_of_fold import OutOfFoldScores
from mtl_jax.experiments.scores import Scores, aggregate

SENSITIVITIES = (0.90, 0.95)


def slope_error(held_out: OutOfFoldScores | None) -> str:
    """Return why the scores cannot be calibrated, or '' if they can.

    With a slope at or below 0 a higher score would mean a lower probability of malignancy.
    """
    for unit in ("view", "lesion") if held_out else ():
        scored = held_out.unit(unit)
        slope, _ = calibration.fit(scored.label, scored.score)
        if not calibration.is_increasing(slope, scored.score):
            return (
                f"the out-of-fold scores of {held_out.description} do not rise with malignancy"
                f" ({unit}-level slope {slope:.3g}) and cannot be calibrated"
            )
    return ""


def calibrate(
    held_out: OutOfFoldScores | None, test_scores: Scores, has_test_set: bool
) -> dict[str, Any] | None:
    """Return slope, intercept, prevalence and checks for views and lesions; None if not possible.

    With `has_test_set`, `test_scores` are those of a test set rather than a fold, and are checked.
    """
    if held_out is None:
        return None
    fitted: dict[str, Any] = {"method": "logistic (Platt) on the logit of the score"}
    for unit in ("view", "lesion"):
        scored = held_out.unit(unit)
        a, b = calibration.fit(scored.label, scored.score)
        checks = [
            calibration.assess(
                "out of fold, each fold calibrated on the others",
                scored.label,
                calibration.cross_fit(scored),
                scored.case,
            )
        ]
        if has_test_set and len(set(test_scores.label.tolist())) == 2:
            label, score, case = aggregate(test_scores, unit)
            checks.append(
                calibration.assess("test set", label, calibration.apply(a, b, score), case)
            )
        prevalence = float(scored.label.mean())
        fitted[unit] = {"a": a, "b": b, "prevalence": prevalence, "checks": checks}
    return fitted


def choose_operating_points(
    held_out: OutOfFoldScores | None, test_scores: Scores, has_test_set: bool
) -> list[dict[str, Any]]:
    """Choose lesion-level thresholds on out-of-fold scores, and evaluate them on the test set."""
    if held_out is None:
        return []
    scored = held_out.unit("lesion")
    points = []
    for sensitivity in (None, *SENSITIVITIES):
        chosen = roc.operating_point(scored.label, scored.score, sensitivity)
        if not np.isfinite(chosen.threshold):
            continue
        name = f"sensitivity {sensitivity:.2f}" if sensitivity else "highest Youden index"
        point = {
            "name": name,
            "threshold": chosen.threshold,
            "out_of_fold": _performance(chosen, scored.label),
        }
        if has_test_set and len(set(test_scores.label.tolist())) == 2:
            label, score, case = aggregate(test_scores, "lesion")
            at_point = roc.at_threshold(label, score, chosen.threshold, case)
            point["test"] = _performance(at_point, label)
        points.append(point)
    return points


def _performance(point: roc.OperatingPoint, labels: np.ndarray) -> dict[str, Any]:
    return {
        "sensitivity": point.sensitivity,
        "sensitivity_interval": list(point.sensitivity_interval),
        "specificity": point.specificity,
        "specificity_interval": list(point.specificity_interval),
        "n_malignant": int(np.sum(labels == 1)),
        "n_benign": int(np.sum(labels == 0)),
    }
