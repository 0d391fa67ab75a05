"""Hand-crafted features on shapes with known values, and classifiers on separable classes."""

import numpy as np
import pytest
from scipy import ndimage

from mtl_jax import roc
from mtl_jax.analysis import hand_crafted
from mtl_jax.analysis.outline import segment_mass
from mtl_jax.analysis.shape import radial_length, shape_features
from mtl_jax.analysis.spiculation import spiculation_features
from mtl_jax.analysis.texture import texture_features

ROW, COLUMN = np.mgrid[:128, :128] - 63.5
DISTANCE, ANGLE = np.hypot(ROW, COLUMN), np.arctan2(ROW, COLUMN)


def mass(spicules: int, depth: float, seed: int, radius: float = 20.0) -> np.ndarray:
    """Return a blurred star with noise; it is a disc if `depth` is 0."""
    edge = radius * (1 + depth * np.cos(spicules * ANGLE))
    noise = np.random.default_rng(seed).standard_normal((128, 128))
    return 100 * ndimage.gaussian_filter((edge > DISTANCE).astype(float), 1.5) + 4 * noise


def test_disc_is_segmented() -> None:
    for seed in range(4):
        mask = segment_mass(mass(0, 0, seed))
        disc = DISTANCE <= 20
        assert (mask & disc).sum() / (mask | disc).sum() > 0.85
        assert ndimage.label(mask)[1] == 1
    assert segment_mass(np.zeros((128, 128))).sum() == pytest.approx(np.pi * 15**2, rel=0.02)


def test_shape_features_of_a_disc_and_of_an_ellipse() -> None:
    disc = shape_features(DISTANCE <= 25)
    assert disc["area_mm2"] == pytest.approx(np.pi * 5**2, rel=0.02)
    assert disc["perimeter_mm"] == pytest.approx(2 * np.pi * 5, rel=0.03)
    assert disc["circularity"] == pytest.approx(1, abs=0.05)
    assert disc["radial_sd"] < 0.02
    np.testing.assert_allclose(radial_length(DISTANCE <= 25), 25, atol=1)
    ellipse = shape_features((ROW / 40) ** 2 + (COLUMN / 20) ** 2 <= 1)
    assert ellipse["eccentricity"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.01)


def test_shape_features_are_invariant_to_translation() -> None:
    mask = DISTANCE <= 20
    shifted = np.roll(mask, (9, -14), (0, 1))
    assert shape_features(mask) == pytest.approx(shape_features(shifted))


def test_star_is_more_spiculated_than_a_disc() -> None:
    disc, star = (mass(0, 0, 1), mass(9, 0.35, 1))
    disc_features, star_features = (hand_crafted.compute_features(gray) for gray in (disc, star))
    assert disc_features["circularity"] > 1.3 * star_features["circularity"]
    assert disc_features["solidity"] > star_features["solidity"]
    assert disc_features["edge_radial_gradient"] > star_features["edge_radial_gradient"] + 0.1
    assert disc_features["edge_across"] < star_features["edge_across"] - 0.1
    assert disc_features["edge_angle_width"] < star_features["edge_angle_width"]


def test_gradient_of_a_cone_is_parallel_to_the_radius() -> None:
    cone = np.maximum(0, 60 - DISTANCE)
    features = spiculation_features(cone, DISTANCE <= 20)
    assert features["edge_radial_gradient"] == pytest.approx(1, abs=0.02)
    assert features["outside_across"] < 0.1
    # A constant gradient has all angles to the radius.
    assert spiculation_features(COLUMN, DISTANCE <= 20)["edge_radial_gradient"] == pytest.approx(
        0, abs=0.02
    )


def test_texture_features_equal_those_computed_by_hand() -> None:
    stripes = np.tile([0.0, 100.0], (128, 64))
    features = texture_features(stripes, DISTANCE <= 30)
    # Distance 1: equal along the column (contrast 0), 31 levels apart in the other directions.
    assert features["mass_contrast_1"] == pytest.approx(3 / 4 * 31**2)
    assert features["mass_correlation_1"] == pytest.approx(1 / 4 - 3 / 4, abs=0.01)
    # Distance 6: the same stripe in all four directions.
    assert features["mass_contrast_6"] == 0
    assert features["mass_homogeneity_6"] == pytest.approx(1)


def test_classifiers_separate_stars_from_discs() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    rois = np.stack(
        [
            mass(int(rng.integers(6, 12)), 0.25 * label, i, rng.uniform(14, 24))
            for i, label in enumerate(labels)
        ]
    )
    features, names = hand_crafted.feature_table(rois)
    assert features.shape == (60, len(names)) and np.isfinite(features).all()
    scores = hand_crafted.fit_and_score(features[:40], labels[:40], features[40:], 0)
    for name in hand_crafted.CLASSIFIERS:
        assert roc.empirical(labels[40:], scores[name]).auc > 0.95
    repeated = hand_crafted.fit_and_score(features[:40], labels[:40], features[40:], 0)
    assert all(np.array_equal(scores[n], repeated[n]) for n in scores)


def test_empty_roi_has_finite_features() -> None:
    features, _ = hand_crafted.feature_table(np.zeros((1, 128, 128)))
    assert np.isfinite(features).all()
