"""What frozen layers give, kept: the same training and scores, shared, and in its place."""

import weakref
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_training import NETWORK, fit_runs, random_dataset

from mtl_jax.data.array_rows import Rows
from mtl_jax.models import alexnet
from mtl_jax.training import dataset, feature_cache, optimizer, prefetch
from mtl_jax.training.fit import TrainingRun
from mtl_jax.training.predict import predict

PLACES = {"device": (1e12, 0), "host": (0, 1e12), "disk": (0, 0)}


@pytest.fixture(scope="module")
def params() -> dict:
    return jax.device_get(alexnet.init(NETWORK, jax.random.key(0)))


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    feature_cache.clear_cache()


def keep_in(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: PLACES[place])


def train(folder: Path, params: dict, network: str, cache: Path | None) -> dict:
    training = TrainingRun(folder, params, jax.random.key(7), lambda line: None)
    return fit_runs([training], network, cache=cache, epochs=1)[0]


@pytest.mark.parametrize("network", ["C1", "C1-C5"])
def test_training_is_the_same_with_and_without(
    params: dict, tmp_path: Path, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(tmp_path / "plain", params, network, None)
    for place in PLACES if network == "C1-C5" else ("device",):
        keep_in(monkeypatch, place)
        feature_cache.clear_cache()
        kept = train(tmp_path / place, params, network, tmp_path / "cache")
        for name in alexnet.LAYERS:
            for part, value in plain[name].items():
                moved = np.abs(value - params[name][part]).max()
                atol = 1e-3 * moved if moved else 0.0
                np.testing.assert_allclose(kept[name][part], value, rtol=0, atol=atol)
    assert len(list((tmp_path / "cache").glob("*"))) == (network == "C1-C5")


@pytest.mark.parametrize("place", PLACES)
def test_maps_are_what_the_frozen_layers_give(
    params: dict, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of indices, with the label and task of each; 38 ROIs are no whole blocks."""
    keep_in(monkeypatch, place)
    p = random_dataset(20)
    frozen = optimizer.frozen_layers("C1-C3")
    source, first = feature_cache.cached_source(NETWORK, params, p, frozen, tmp_path)
    assert first == "C4" and isinstance(source, dataset.Activations)
    assert prefetch.is_on_host(source) == (place != "device")
    assert isinstance(source.values, Rows) == (place == "disk")
    indices = np.array([0, 7, 8, 130, 303])
    near, local = (
        prefetch.select_rows(source, indices) if prefetch.is_on_host(source) else (source, indices)
    )
    batch = dataset.make_batch(near, jnp.asarray(local), jnp.ones(5))
    expected = dataset.make_batch(p, indices, jnp.ones(5))
    np.testing.assert_array_equal(batch.label, expected.label)
    np.testing.assert_array_equal(batch.task, expected.task)
    maps = alexnet.forward(params, expected.image, last="C3")
    np.testing.assert_allclose(batch.image, maps, rtol=1e-4, atol=1e-5 * np.abs(maps).max())


@pytest.mark.parametrize("place", ["device", "host"])
def test_scores_are_the_same_with_and_without(
    params: dict, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in(monkeypatch, place)
    p = random_dataset(20)
    plain = predict(NETWORK, params, p)
    kept = predict(NETWORK, params, p, optimizer.frozen_layers("C1-C5"))
    np.testing.assert_allclose(kept, plain, atol=1e-6)


def test_runs_share_maps_only_where_rois_statistics_and_weights_are_the_same(
    params: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = optimizer.frozen_layers("C1-C2")

    def maps(p: dataset.Dataset, weights: dict = params, layers: tuple = frozen) -> jax.Array:
        return feature_cache.cached_source(NETWORK, weights, p, layers, tmp_path)[0].values

    p = random_dataset()
    first = maps(p)
    other_head = {**params, "F1": jax.tree.map(lambda w: w + 1, params["F1"])}
    assert maps(random_dataset(), other_head) is first
    other_kernel = {**params, "C2": jax.tree.map(lambda w: w + 1, params["C2"])}
    for different in (
        maps(p._replace(mean=p.mean + 1)),
        maps(random_dataset(seed=1)),
        maps(p, other_kernel),
        maps(p, layers=frozen[:1]),
    ):
        assert different.shape != first.shape or not np.allclose(different, first)
    keep_in(monkeypatch, "disk")
    feature_cache.clear_cache()
    maps(p)
    monkeypatch.setattr(feature_cache, "_write", lambda *_: pytest.fail("computed again"))
    np.testing.assert_allclose(maps(p)[:], first, rtol=1e-6)


@pytest.mark.parametrize("package", ["jax", "jaxlib", "mtl_jax"])
def test_files_of_another_version_are_not_read(
    params: dict, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, p = {"C1": params["C1"]}, random_dataset()
    key, version = feature_cache._key(NETWORK, layers, p), metadata.version
    assert feature_cache._key(NETWORK, layers, p) == key
    monkeypatch.setattr(metadata, "version", lambda n: "9.9" if n == package else version(n))
    assert feature_cache._key(NETWORK, layers, p) != key


def test_files_of_another_precision_are_not_read(params: dict) -> None:
    layers, p = {"C1": params["C1"]}, random_dataset()
    key = feature_cache._key(NETWORK, layers, p)
    with jax.default_matmul_precision("bfloat16"):
        assert feature_cache._key(NETWORK, layers, p) != key
    half = jax.tree.map(lambda a: np.zeros(a.shape, np.float16), layers)
    zero = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), layers)
    assert feature_cache._key(NETWORK, half, p) != feature_cache._key(NETWORK, zero, p)


def test_the_maps_used_longest_ago_make_room(params: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = optimizer.frozen_layers("C1-C5")
    pools = [random_dataset(seed=seed) for seed in range(3)]
    size = 10 * 8 * 3 * 3 * 256 * 4
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: (2 * size, 0))

    def maps(number: int) -> jax.Array:
        return feature_cache.cached_source(NETWORK, params, pools[number], frozen)[0].values

    a = maps(0)
    b = weakref.ref(maps(1))
    assert maps(0) is a
    maps(2)
    assert maps(0) is a
    assert len(feature_cache._cache) == 2 and b() is None
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: (size / 2, 0))
    source, first = feature_cache.cached_source(NETWORK, params, random_dataset(seed=9), frozen)
    assert isinstance(source, dataset.Dataset) and first == "C1"


def test_maps_that_a_training_uses_count_until_it_ends(
    params: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its held-out fold may not fill memory beside them."""
    frozen = optimizer.frozen_layers("C1-C5")
    size = 10 * 8 * 3 * 3 * 256 * 4
    monkeypatch.setattr(feature_cache, "_memory_limits", lambda: (1.5 * size, 0))
    in_use, _ = feature_cache.cached_source(NETWORK, params, random_dataset(), frozen)
    beside, _ = feature_cache.cached_source(NETWORK, params, random_dataset(seed=1), frozen)
    assert isinstance(in_use, dataset.Activations) and isinstance(beside, dataset.Dataset)
    del in_use
    after, _ = feature_cache.cached_source(NETWORK, params, random_dataset(seed=1), frozen)
    assert isinstance(after, dataset.Activations)
