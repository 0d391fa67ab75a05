"""t-SNE, the convergence measures, averaged features and the choice of ROIs."""

import jax
import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from mtl_jax.analysis import choose_rois, convergence, embedding, features
from mtl_jax.models import alexnet
from mtl_jax.training.dataset import make_dataset
from mtl_jax.types import InputError, RoiSet


def make_clusters(separation: float, n: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(3), n)
    return rng.standard_normal((3 * n, 50)) + separation * np.eye(50)[group], group


def test_tsne_keeps_neighbours_and_the_lowest_cost() -> None:
    features_table, group = make_clusters(20.0)
    result = embedding.embed(features_table, perplexity=30.0, iterations=500, n_init=3, seed=0)
    assert result.points.shape == (120, 2) and result.perplexity == 30
    assert trustworthiness(features_table, result.points, n_neighbors=10) > 0.9
    distance = convergence.distances(result.points)
    nearest = np.argsort(distance, axis=1)[:, 1]
    assert (group[nearest] == group).all()
    single_starts = [
        embedding.embed(features_table, perplexity=30.0, iterations=500, n_init=1, seed=s)
        for s in range(3)
    ]
    np.testing.assert_array_equal(result.costs, [start.costs[0] for start in single_starts])
    np.testing.assert_array_equal(result.points, single_starts[int(result.costs.argmin())].points)


def test_tsne_of_few_rows_and_of_equal_rows() -> None:
    result = embedding.embed(
        make_clusters(5.0, 3)[0], perplexity=30.0, iterations=100, n_init=1, seed=0
    )
    assert result.perplexity == pytest.approx(8 / 3) and np.isfinite(result.points).all()
    equal = np.zeros((12, 4))
    result = embedding.embed(equal, perplexity=30.0, iterations=100, n_init=1, seed=0)
    assert np.isfinite(result.points).all()


def test_silhouette_equals_that_computed_by_hand() -> None:
    distance = convergence.distances(np.array([[0.0], [1.0], [10.0], [11.0]]))
    # Outer rows: a = 1, b = 10.5. Inner rows: a = 1, b = 9.5.
    expected = np.mean([1 - 1 / 10.5, 1 - 1 / 9.5] * 2)
    assert convergence.silhouette(distance, np.array([0, 0, 1, 1])) == pytest.approx(expected)


def test_maximum_mean_discrepancy_equals_that_of_a_loop() -> None:
    x = np.random.default_rng(1).standard_normal((9, 3))
    group = np.array(["a"] * 4 + ["b"] * 5)
    distance = convergence.distances(x)
    scale = np.median([distance[i, j] for i in range(9) for j in range(i)])
    kernel = [[np.exp(-np.sum((p - q) ** 2) / (2 * scale**2)) for q in x] for p in x]
    one = np.mean([kernel[i][j] for i in range(4) for j in range(4) if i != j])
    two = np.mean([kernel[i][j] for i in range(4, 9) for j in range(4, 9) if i != j])
    both = np.mean([kernel[i][j] for i in range(4) for j in range(4, 9)])
    assert convergence.maximum_mean_discrepancy(distance, group) == pytest.approx(
        one + two - 2 * both
    )


def test_maximum_mean_discrepancy_is_near_zero_for_one_distribution_and_increases() -> None:
    values = []
    for separation in (0.0, 1.0, 3.0):
        points, group = make_clusters(separation)
        keep = group < 2
        distance = convergence.distances(points[keep])
        values.append(convergence.maximum_mean_discrepancy(distance, group[keep]))
    assert abs(values[0]) < 0.01 < values[1] < values[2]


def test_the_standard_error_matches_that_of_repeated_samples() -> None:
    values, errors = [], []
    for seed in range(30):
        points, group = make_clusters(2.0, seed=seed)
        distance, case = convergence.distances(points), np.arange(len(group))
        values.append(convergence.silhouette(distance, group))
        if seed < 8:
            errors.append(
                convergence.standard_error(convergence.silhouette, distance, group, case, 0)
            )
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.5)


def test_features_are_the_mean_over_the_eight_orientations() -> None:
    network = alexnet.AlexNet()
    params = alexnet.init(network, jax.random.key(0))
    pixels = np.random.default_rng(2).integers(-500, 500, (3, 128, 128)).astype(np.int16)
    dataset = make_dataset([pixels], [np.array([0, 1, 1])], np.float32([20]), np.float32([300]))
    averaged = features.averaged_features(network, params, dataset)
    gray = (pixels[1].astype(np.float32) - 20) / 300
    orientations = np.stack([np.rot90(side, k) for side in (gray, gray.T) for k in range(4)])
    images = np.repeat(orientations[..., None], 3, axis=-1)
    for layer, nodes in (("F1", 4096), ("F4", 100)):
        assert averaged[layer].shape == (3, nodes)
        expected = np.asarray(alexnet.forward(params, images, last=layer)).mean(0)
        np.testing.assert_allclose(averaged[layer][1], expected, rtol=1e-3, atol=1e-3)


def test_extreme_rois_have_the_highest_and_lowest_scores_of_each_class() -> None:
    label = np.array([1, 1, 1, 0, 0, 0])
    score = np.array([0.2, 0.9, 0.9, 0.1, 0.7, 0.3])
    extremes = dict(choose_rois.extreme_rois(label, score, 1))
    assert list(extremes.values()) == [1, 0, 3, 4]
    assert len(choose_rois.extreme_rois(label, score, 3)) == 6  # no row twice


def test_chosen_rois_are_limited_and_distinct() -> None:
    train_rows = {"t": np.arange(0, 30), "x": np.arange(5)}
    chosen = choose_rois.choose_rois(train_rows, "t", np.arange(30, 60), np.arange(30, 60), 10, 0)
    assert chosen.sampled.sum() == 10 + 5 + 10 and len(chosen.task) == 25 + 20
    pairs = list(zip(chosen.task, chosen.row, strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(chosen.row[~chosen.learned]) == set(range(30, 60))


def test_an_unknown_roi_id_is_rejected() -> None:
    rois = RoiSet("t", {"roi_id": np.array(["a", "b"])}, (), {})
    assert choose_rois.find_rois(rois, ("b",)) == [("requested", 1)]
    with pytest.raises(InputError, match="config.analysis.roi_ids has 'c'"):
        choose_rois.find_rois(rois, ("b", "c"))
