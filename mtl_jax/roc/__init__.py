"""ROC analysis with NumPy and SciPy alone: labels and scores in, numbers out."""

from mtl_jax.roc.bootstrap import Bootstrap, bootstrap
from mtl_jax.roc.compare import Comparison, compare
from mtl_jax.roc.conventional import Conventional, conventional
from mtl_jax.roc.empirical import Empirical, empirical
from mtl_jax.roc.lesions import LesionScores, view_to_lesion
from mtl_jax.roc.operating import (
    Calibration,
    OperatingPoint,
    at_threshold,
    calibration,
    operating_point,
)
from mtl_jax.roc.proper import Proper, proper

__all__ = [
    "Bootstrap",
    "Calibration",
    "Comparison",
    "Conventional",
    "Empirical",
    "LesionScores",
    "OperatingPoint",
    "Proper",
    "at_threshold",
    "bootstrap",
    "calibration",
    "compare",
    "conventional",
    "empirical",
    "operating_point",
    "proper",
    "view_to_lesion",
]
