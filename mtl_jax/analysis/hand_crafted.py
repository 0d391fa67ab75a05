"""Conventional computer-aided diagnosis: hand-crafted features and scikit-learn classifiers.

It is the baseline that deep learning is compared with (the paper's third limitation).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from mtl_jax.analysis.outline import segment_mass
from mtl_jax.analysis.shape import shape_features
from mtl_jax.analysis.spiculation import spiculation_features
from mtl_jax.analysis.texture import texture_features

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

CLASSIFIERS = ("lda", "forest")
N_TREES = 500


def compute_features(gray: np.ndarray) -> dict[str, float]:
    """Return shape, texture and spiculation of the mass in the middle of `gray` (s, s), by name."""
    gray = np.asarray(gray, np.float64)
    mask = segment_mass(gray)
    return shape_features(mask) | texture_features(gray, mask) | spiculation_features(gray, mask)


def feature_table(rois: Iterable[np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Return the features (n, f) float64 of `rois`, (s, s) each, and their names (f,)."""
    rows = [compute_features(roi) for roi in rois]
    return np.array([list(row.values()) for row in rows]), list(rows[0]) if rows else []


def make_forest(seed: int, trees: int = N_TREES) -> "RandomForestClassifier":
    """Return a random forest (Breiman 2001) with balanced classes."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        trees, min_samples_leaf=2, class_weight="balanced", random_state=seed
    )


def fit_and_score(
    train_features: np.ndarray, train_labels: np.ndarray, features: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Return the probability of malignancy by each of CLASSIFIERS, (m,) float32.

    lda: linear discriminant analysis of standardized features with the shrunk covariance of Ledoit
    and Wolf (2004), because there are many features for the number of cases. forest: a random
    forest (Breiman 2001) with balanced classes.
    """
    # Imported here, because scikit-learn takes a second and the features need none of it.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifiers = {
        "lda": make_pipeline(
            StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        ),
        "forest": make_forest(seed),
    }
    scores = {}
    for name in CLASSIFIERS:
        classifier = classifiers[name].fit(train_features, train_labels)
        scores[name] = np.float32(classifier.predict_proba(features)[:, 1])
    return scores
