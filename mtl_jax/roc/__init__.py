"""ROC analysis of labels and scores: AUCs, fitted curves, intervals and tests.

It needs NumPy and SciPy only.
"""

from mtl_jax.roc.auc_intervals import AucInterval, auc_interval, may_headline
from mtl_jax.roc.bootstrap import Bootstrap, bootstrap
from mtl_jax.roc.compare import Comparison, compare
from mtl_jax.roc.conventional import Conventional, conventional
from mtl_jax.roc.empirical import Empirical, empirical
from mtl_jax.roc.holm import holm
from mtl_jax.roc.lesion_scores import LesionScores, view_to_lesion
from mtl_jax.roc.operating_points import (
    Calibration,
    OperatingPoint,
    at_threshold,
    calibration,
    operating_point,
)
from mtl_jax.roc.proper import Proper, proper
from mtl_jax.roc.proportion import Proportion, proportion

__all__ = [
    "AucInterval",
    "Bootstrap",
    "Calibration",
    "Comparison",
    "Conventional",
    "Empirical",
    "LesionScores",
    "OperatingPoint",
    "Proper",
    "Proportion",
    "at_threshold",
    "auc_interval",
    "bootstrap",
    "calibration",
    "compare",
    "conventional",
    "empirical",
    "holm",
    "may_headline",
    "operating_point",
    "proper",
    "proportion",
    "view_to_lesion",
]
