"""Conventional computer-aided diagnosis: hand-made features and two classifiers of scikit-learn.

What deep learning is measured against (the paper's third limitation). Knows no networks.
"""

from collections.abc import Iterable

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtl_jax.analysis.outline import segment_mass
from mtl_jax.analysis.shape import shape_features
from mtl_jax.analysis.spiculation import spiculation_features
from mtl_jax.analysis.texture import texture_features

CLASSIFIERS = ("lda", "forest")
TREES = 500  # of the forest


def describe(gray: np.ndarray) -> dict[str, float]:
    """Shape, texture and spiculation of the mass in the middle of `gray` (s, s), by name."""
    gray = np.asarray(gray, np.float64)
    mask = segment_mass(gray)
    return shape_features(mask) | texture_features(gray, mask) | spiculation_features(gray, mask)


def table(rois: Iterable[np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """The features (n, f) float64 of `rois`, (s, s) each, and their names (f,)."""
    rows = [describe(roi) for roi in rois]
    return np.array([list(row.values()) for row in rows]), list(rows[0]) if rows else []


def fit_and_score(
    learned: np.ndarray, labels: np.ndarray, scored: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Each of CLASSIFIERS' probability of malignant (m,) float32 of the rows `scored` (m, f), after
    it has learned the rows `learned` (n, f) with `labels` (n,) 0 or 1.

    lda: linear discriminant analysis of standardized features, their covariance shrunk by Ledoit
    and Wolf's rule (2004), because the features are many for the cases. forest: a random forest
    (Breiman 2001) of TREES trees, the classes weighed alike.
    """
    classifiers = {
        "lda": make_pipeline(
            StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        ),
        "forest": RandomForestClassifier(
            TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed
        ),
    }
    return {
        name: np.float32(classifiers[name].fit(learned, labels).predict_proba(scored)[:, 1])
        for name in CLASSIFIERS
    }
