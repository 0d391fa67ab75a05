"""The frozen-feature cache: equal results, shared activations, memory limits."""

import weakref
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kit.small_network import MAPS
from test_training import NETWORK, fit_runs, random_dataset

from mtl_jax.data.array_rows import Rows
from mtl_jax.models import alexnet
from mtl_jax.training import dataset, feature_cache, optimizer, prefetch
from mtl_jax.training.predict import predict
from mtl_jax.training.setup import TrainingRun

MEMORY_LIMITS = {"device": (1e12, 0), "host": (0, 1e12), "disk": (0, 0)}


@pytest.fixture(scope="module")
def params() -> dict:
    return jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    feature_cache.clear_cache()


def limit_memory(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: MEMORY_LIMITS[location])


def train(folder: Path, params: dict, network: str, cache: Path | None) -> dict:
    run = TrainingRun(folder, params, jax.random.key(7), lambda record: None)
    return fit_runs([run], network, cache=cache, epochs=1)[0]


@pytest.mark.parametrize("network", ["C1", "C1-C5"])
def test_training_gives_the_same_weights_with_and_without_the_cache(
    params: dict, tmp_path: Path, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncached = train(tmp_path / "uncached", params, network, None)
    for location in MEMORY_LIMITS if network == "C1-C5" else ("device",):
        limit_memory(monkeypatch, location)
        feature_cache.clear_cache()
        cached = train(tmp_path / location, params, network, tmp_path / "cache")
        for name in alexnet.LAYERS:
            for part, value in uncached[name].items():
                change = np.abs(value - params[name][part]).max()
                atol = 1e-3 * change if change else 0.0
                np.testing.assert_allclose(cached[name][part], value, rtol=0, atol=atol)
    assert len(list((tmp_path / "cache").glob("*"))) == (network == "C1-C5")


@pytest.mark.parametrize("location", MEMORY_LIMITS)
def test_activations_equal_the_output_of_the_frozen_layers(
    params: dict, tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare values, labels and tasks; 38 ROIs do not fill the last block."""
    limit_memory(monkeypatch, location)
    rois = random_dataset(20)
    frozen = optimizer.frozen_layers("C1-C3")
    source, first = feature_cache.cached_source(NETWORK, params, rois, frozen, tmp_path)
    assert first == "C4" and isinstance(source, dataset.Activations)
    assert prefetch.is_on_host(source) == (location != "device")
    assert isinstance(source.values, Rows) == (location == "disk")
    indices = np.array([0, 7, 8, 130, 303])
    subset, subset_indices = source, indices
    if prefetch.is_on_host(source):
        subset, subset_indices = prefetch.select_rows(source, indices)
    batch = dataset.make_batch(subset, jnp.asarray(subset_indices), jnp.ones(5))
    expected = dataset.make_batch(rois, indices, jnp.ones(5))
    np.testing.assert_array_equal(batch.label, expected.label)
    np.testing.assert_array_equal(batch.task, expected.task)
    values = NETWORK.apply({"params": params}, expected.image, last="C3")
    np.testing.assert_allclose(batch.image, values, rtol=1e-4, atol=1e-5 * np.abs(values).max())


@pytest.mark.parametrize("location", ["device", "host"])
def test_scores_are_the_same_with_and_without_the_cache(
    params: dict, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, location)
    rois = random_dataset(20)
    uncached = predict(NETWORK, params, rois)
    cached = predict(NETWORK, params, rois, optimizer.frozen_layers("C1-C5"))
    np.testing.assert_allclose(cached, uncached, atol=1e-6)


def test_runs_share_activations_only_with_equal_rois_statistics_and_weights(
    params: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = optimizer.frozen_layers("C1-C2")

    def values(rois: dataset.Dataset, weights: dict = params, layers: tuple = frozen) -> jax.Array:
        return feature_cache.cached_source(NETWORK, weights, rois, layers, tmp_path)[0].values

    rois = random_dataset()
    first = values(rois)
    other_head = {**params, "F1": jax.tree.map(lambda w: w + 1, params["F1"])}
    assert values(random_dataset(), other_head) is first
    other_kernel = {**params, "C2": jax.tree.map(lambda w: w + 1, params["C2"])}
    for other in (
        values(rois._replace(mean=rois.mean + 1)),
        values(random_dataset(seed=1)),
        values(rois, other_kernel),
        values(rois, layers=frozen[:1]),
    ):
        assert other.shape != first.shape or not np.allclose(other, first)
    limit_memory(monkeypatch, "disk")
    feature_cache.clear_cache()
    values(rois)
    monkeypatch.setattr(feature_cache, "_write", lambda *_: pytest.fail("computed again"))
    np.testing.assert_allclose(values(rois)[:], first, rtol=1e-6)


@pytest.mark.parametrize("package", ["jax", "jaxlib", "mtl_jax"])
def test_the_key_depends_on_the_package_versions(
    params: dict, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, rois = {"C1": params["C1"]}, random_dataset()
    key, version = feature_cache._key(NETWORK, layers, rois), metadata.version
    assert feature_cache._key(NETWORK, layers, rois) == key
    monkeypatch.setattr(
        metadata, "version", lambda name: "9.9" if name == package else version(name)
    )
    assert feature_cache._key(NETWORK, layers, rois) != key


def test_the_key_depends_on_the_precision(params: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, rois = {"C1": params["C1"]}, random_dataset()
    key, record = feature_cache._key(NETWORK, layers, rois), feature_cache.software.record()
    for other in ({"precision": {"matmul": None}}, {"deterministic": True}):
        with monkeypatch.context() as patch:
            patch.setattr(feature_cache.software, "record", lambda other=other: record | other)
            assert feature_cache._key(NETWORK, layers, rois) != key
    half = jax.tree.map(lambda a: np.zeros(a.shape, np.float16), layers)
    zero = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), layers)
    assert feature_cache._key(NETWORK, half, rois) != feature_cache._key(NETWORK, zero, rois)


def test_the_least_recently_used_activations_are_evicted(
    params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = optimizer.frozen_layers("C1-C5")
    datasets = [random_dataset(seed=seed) for seed in range(3)]
    size = 10 * 8 * 3 * 3 * MAPS["C5"].features * 4
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: (2 * size, 0))

    def values(number: int) -> jax.Array:
        return feature_cache.cached_source(NETWORK, params, datasets[number], frozen)[0].values

    first = values(0)
    second = weakref.ref(values(1))
    assert values(0) is first
    values(2)
    assert values(0) is first
    assert len(feature_cache._cache) == 2 and second() is None
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: (size / 2, 0))
    source, layer = feature_cache.cached_source(NETWORK, params, random_dataset(seed=9), frozen)
    assert isinstance(source, dataset.Dataset) and layer == "C1"


def test_activations_in_use_count_until_they_are_freed(
    params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The held-out fold of a run may not fill the memory in addition."""
    frozen = optimizer.frozen_layers("C1-C5")
    size = 10 * 8 * 3 * 3 * MAPS["C5"].features * 4
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: (1.5 * size, 0))
    in_use, _ = feature_cache.cached_source(NETWORK, params, random_dataset(), frozen)
    other, _ = feature_cache.cached_source(NETWORK, params, random_dataset(seed=1), frozen)
    assert isinstance(in_use, dataset.Activations) and isinstance(other, dataset.Dataset)
    del in_use
    after, _ = feature_cache.cached_source(NETWORK, params, random_dataset(seed=1), frozen)
    assert isinstance(after, dataset.Activations)
