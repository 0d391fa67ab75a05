"""Hand-made features on shapes whose answer is known, and classifiers on separable classes."""

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
AWAY, ANGLE = np.hypot(ROW, COLUMN), np.arctan2(ROW, COLUMN)


def mass(spicules: int, depth: float, seed: int, radius: float = 20.0) -> np.ndarray:
    """A blurred star in noise; `depth` 0 is a disc."""
    edge = radius * (1 + depth * np.cos(spicules * ANGLE))
    noise = np.random.default_rng(seed).standard_normal((128, 128))
    return 100 * ndimage.gaussian_filter((edge > AWAY).astype(float), 1.5) + 4 * noise


def test_outline_finds_a_disc() -> None:
    for seed in range(4):
        mask = segment_mass(mass(0, 0, seed))
        disc = AWAY <= 20
        assert (mask & disc).sum() / (mask | disc).sum() > 0.85
        assert ndimage.label(mask)[1] == 1
    assert segment_mass(np.zeros((128, 128))).sum() == pytest.approx(np.pi * 15**2, rel=0.02)


def test_shape_of_a_disc_and_of_an_ellipse() -> None:
    disc = shape_features(AWAY <= 25)
    assert disc["area_mm2"] == pytest.approx(np.pi * 5**2, rel=0.02)
    assert disc["perimeter_mm"] == pytest.approx(2 * np.pi * 5, rel=0.03)
    assert disc["circularity"] == pytest.approx(1, abs=0.05)
    assert disc["radial_sd"] < 0.02
    np.testing.assert_allclose(radial_length(AWAY <= 25), 25, atol=1)
    ellipse = shape_features((ROW / 40) ** 2 + (COLUMN / 20) ** 2 <= 1)
    assert ellipse["eccentricity"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.01)


def test_shape_knows_no_position() -> None:
    mask = AWAY <= 20
    moved = np.roll(mask, (9, -14), (0, 1))
    assert shape_features(mask) == pytest.approx(shape_features(moved))


def test_a_star_is_more_spiculated_than_a_disc() -> None:
    disc, star = (mass(0, 0, 1), mass(9, 0.35, 1))
    round_, spiky = (hand_crafted.compute_features(gray) for gray in (disc, star))
    assert round_["circularity"] > 1.3 * spiky["circularity"]
    assert round_["solidity"] > spiky["solidity"]
    assert round_["edge_radial_gradient"] > spiky["edge_radial_gradient"] + 0.1
    assert round_["edge_across"] < spiky["edge_across"] - 0.1
    assert round_["edge_angle_width"] < spiky["edge_angle_width"]


def test_gradient_of_a_cone_is_all_along_the_radius() -> None:
    cone = np.maximum(0, 60 - AWAY)
    found = spiculation_features(cone, AWAY <= 20)
    assert found["edge_radial_gradient"] == pytest.approx(1, abs=0.02)
    assert found["outside_across"] < 0.1
    # Gray that changes one way only points every way from the radius, by turns.
    assert spiculation_features(COLUMN, AWAY <= 20)["edge_radial_gradient"] == pytest.approx(
        0, abs=0.02
    )


def test_texture_by_hand() -> None:
    stripes = np.tile([0.0, 100.0], (128, 64))
    found = texture_features(stripes, AWAY <= 30)
    # Neighbours one apart: across equal down the column (contrast 0), else 31 levels apart.
    assert found["mass_contrast_1"] == pytest.approx(3 / 4 * 31**2)
    assert found["mass_correlation_1"] == pytest.approx(1 / 4 - 3 / 4, abs=0.01)
    # Six apart: the same stripe in all four directions.
    assert found["mass_contrast_6"] == 0
    assert found["mass_homogeneity_6"] == pytest.approx(1)


def test_classifiers_tell_stars_from_discs() -> None:
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
    found = hand_crafted.fit_and_score(features[:40], labels[:40], features[40:], 0)
    for name in hand_crafted.CLASSIFIERS:
        assert roc.empirical(labels[40:], found[name]).auc > 0.95
    again = hand_crafted.fit_and_score(features[:40], labels[:40], features[40:], 0)
    assert all(np.array_equal(found[n], again[n]) for n in found)


def test_an_empty_roi_has_features() -> None:
    features, _ = hand_crafted.feature_table(np.zeros((1, 128, 128)))
    assert np.isfinite(features).all()
