"""The calibration and operating points of a bundle, from scores out of fold. Reads no files."""

from typing import Any

import numpy as np

from mtl_jax import roc
from mtl_jax.bundle import calibration
from mtl_jax.bundle.out_of_fold import OutOfFoldScores
from mtl_jax.experiments.scores import Scores, by_unit

SENSITIVITIES = (0.90, 0.95)


def slope_error(held: OutOfFoldScores | None) -> str:
    """Why no probability can rest on these scores; '' where it can.

    With a slope at or below 0 a higher score would mean a lower probability of malignancy.
    """
    for unit in ("view", "lesion") if held else ():
        scored = held.unit(unit)
        slope, _ = calibration.fit(scored.label, scored.score)
        if not calibration.is_increasing(slope, scored.score):
            return (
                f"out of fold the scores of {held.description} do not rise with malignancy (slope"
                f" {slope:.3g} per {unit}), so that no probability can rest on them"
            )
    return ""


def calibrate(
    held: OutOfFoldScores | None, own: Scores, independent: bool
) -> dict[str, Any] | None:
    if held is None:
        return None
    found: dict[str, Any] = {"method": "logistic (Platt) on the logit of the score"}
    for unit in ("view", "lesion"):
        scored = held.unit(unit)
        a, b = calibration.fit(scored.label, scored.score)
        checks = [
            calibration.assess(
                "out of fold, each fold by a curve fitted to the others",
                scored.label,
                calibration.cross_fit(scored),
                scored.case,
            )
        ]
        if independent and len(set(own.label.tolist())) == 2:
            label, score, case = by_unit(own, unit)
            checks.append(
                calibration.assess("test set", label, calibration.apply(a, b, score), case)
            )
        prevalence = float(scored.label.mean())
        found[unit] = {"a": a, "b": b, "prevalence": prevalence, "checks": checks}
    return found


def choose_operating_points(
    held: OutOfFoldScores | None, own: Scores, independent: bool
) -> list[dict[str, Any]]:
    """Thresholds per lesion chosen out of fold, with what they give there and on the test set."""
    if held is None:
        return []
    scored = held.unit("lesion")
    points = []
    for sensitivity in (None, *SENSITIVITIES):
        chosen = roc.operating_point(scored.label, scored.score, sensitivity)
        if not np.isfinite(chosen.threshold):
            continue
        name = f"sensitivity {sensitivity:.2f}" if sensitivity else "highest Youden index"
        point = {"name": name, "threshold": chosen.threshold, "out_of_fold": _seen(chosen, scored)}
        if independent and len(set(own.label.tolist())) == 2:
            label, score, case = by_unit(own, "lesion")
            test = calibration.LabelledScores(label, score, case, case)
            point["test"] = _seen(roc.at_threshold(label, score, chosen.threshold), test)
        points.append(point)
    return points


def _seen(point: roc.OperatingPoint, scored: calibration.LabelledScores) -> dict[str, Any]:
    return {
        "sensitivity": point.sensitivity,
        "sensitivity_interval": list(point.sensitivity_interval),
        "specificity": point.specificity,
        "specificity_interval": list(point.specificity_interval),
        "n_malignant": int(np.sum(scored.label == 1)),
        "n_benign": int(np.sum(scored.label == 0)),
    }
