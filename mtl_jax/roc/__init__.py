"""ROC analysis with NumPy and SciPy alone: labels and scores in, numbers out."""

from mtl_jax.roc.bootstrap import Bootstrap, bootstrap
from mtl_jax.roc.compare import Comparison, compare
from mtl_jax.roc.conventional import Conventional, conventional
from mtl_jax.roc.empirical import Empirical, empirical
from mtl_jax.roc.lesions import LesionScores, view_to_lesion
from mtl_jax.roc.proper import Proper, proper

__all__ = [
    "Bootstrap",
    "Comparison",
    "Conventional",
    "Empirical",
    "LesionScores",
    "Proper",
    "bootstrap",
    "compare",
    "conventional",
    "empirical",
    "proper",
    "view_to_lesion",
]
