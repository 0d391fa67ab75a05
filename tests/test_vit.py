"""Parameters beyond kernel and bias (tokens, scales) pass through every step, with ViT-S/16."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from kit.untrained import make_untrained

from mtl_jax import bundle, weights
from mtl_jax.bundle import scoring, stablehlo
from mtl_jax.experiments.train_runs import warm_start
from mtl_jax.models import base, registry
from mtl_jax.training import feature_cache, optimizer
from mtl_jax.training.dataset import make_dataset
from mtl_jax.types import InputError
from mtl_jax.weights.metadata import make_metadata

NETWORK = registry.build("vit_s16")
STAGES = NETWORK.stages


@pytest.fixture(scope="module")
def params() -> dict:
    rng, flat = np.random.default_rng(0), {}
    for path, shape in base.param_shapes(NETWORK).items():
        flat[path] = np.float32(0.05) * rng.standard_normal(shape, np.float32)
    return unflatten_dict(flat, sep="/")


def test_shapes_of_the_stages() -> None:
    shapes = base.output_shapes(NETWORK)
    assert [shapes[stage] for stage in STAGES] == [(197, 384)] * 5
    paths = base.param_shapes(NETWORK)
    assert paths["C1/positions"] == (1, 197, 384) and paths["F1/kernel"] == (384, 4096)
    # timm's count for vit_small_patch16_224 without its head, plus 24 factors of 384 branches.
    assert sum(np.prod(s) for p, s in paths.items() if p[0] == "C") == 21_665_664 + 24 * 384


def test_gray_rois_are_resampled_and_equal_three_equal_channels(params: dict) -> None:
    roi = jax.random.normal(jax.random.key(1), (1, 128, 128, 1))
    resized = jax.image.resize(roi, (1, 224, 224, 1), "cubic")
    apply = jax.jit(lambda x: NETWORK.apply({"params": params}, x, last="C1"))
    expected = np.asarray(apply(resized))
    np.testing.assert_allclose(apply(roi), expected, atol=1e-5)
    np.testing.assert_allclose(apply(jnp.repeat(roi, 3, -1)), expected, atol=1e-5)


@pytest.mark.parametrize("initialization", ["he", "krizhevsky2012", "cuda_convnet2"])
def test_every_initialization_keeps_all_parameters(initialization: str) -> None:
    tree = jax.eval_shape(lambda: base.init(NETWORK, jax.random.key(0), initialization))
    shapes = {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}
    assert shapes == base.param_shapes(NETWORK)


def test_weights_are_saved_loaded_and_start_a_network(params: dict, tmp_path: Path) -> None:
    stages = {stage: params[stage] for stage in STAGES}
    metadata = make_metadata(stages, backbone="vit_s16", name="vit", source="none", note="")
    weights.save(weights.Weights(stages, metadata), tmp_path / "vit")
    loaded = weights.load(tmp_path / "vit")
    assert loaded.metadata == metadata
    reversed_order = {stage: dict(reversed(params[stage].items())) for stage in STAGES}
    assert weights.metadata.hash_params(reversed_order) == metadata["arrays_sha256"]
    zeros = jax.tree.map(np.zeros_like, params)
    started = flatten_dict(warm_start(zeros, loaded), sep="/")
    for path, array in flatten_dict(params, sep="/").items():
        assert np.array_equal(started[path], array if path[0] == "C" else 0 * array), path


@pytest.mark.slow
def test_frozen_stages_keep_tokens_and_scales(params: dict) -> None:
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.1), optimizer.frozen_layers("C1-C4"))
    gradient = jax.tree.map(np.ones_like, params)
    direction, _ = tx.update(gradient, tx.init(params), params)
    for path, array in flatten_dict(direction, sep="/").items():
        is_frozen = path.split("/")[0] in ("C1", "C2", "C3", "C4")
        assert np.any(array) != is_frozen, path
    momentum = [leaf for leaf in jax.tree.leaves(tx.init(params)) if np.ndim(leaf)]
    trained = [path for path in flatten_dict(params) if path[0] == "C5" or path[0][0] == "F"]
    assert len(momentum) == len(trained)


def test_the_feature_cache_holds_tokens(params: dict) -> None:
    counts = np.random.default_rng(0).integers(-999, 999, (1, 128, 128)).astype(np.int16)
    data = make_dataset([counts], [np.zeros(1, int)], np.zeros(1, "f4"), np.full(1, 500, "f4"))
    source, first = feature_cache.cached_source(NETWORK, params, data, ("C1", "C2"))
    feature_cache.clear_cache()
    assert first == "C3" and source.values.shape == (8, 197, 384)
    image = counts[:, ..., None] / np.float32(500)
    expected = NETWORK.apply({"params": params}, image, last="C2")
    np.testing.assert_allclose(source.values[0], expected[0], atol=1e-4)


def test_half_precision_is_close_to_single_precision(params: dict) -> None:
    roi = jax.random.normal(jax.random.key(1), (1, 128, 128, 1))
    apply = jax.jit(lambda p, x: NETWORK.apply({"params": p}, x, last="C5"))
    half = apply(jax.tree.map(lambda a: a.astype(jnp.bfloat16), params), roi.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    single = apply(params, roi)
    assert np.linalg.norm(half.astype(np.float32) - single) < 0.05 * np.linalg.norm(single)


def test_a_deeper_freeze_than_the_backbone_has_is_rejected() -> None:
    registry.reject_depth("vit_s16", optimizer.frozen_layers("C1-C5"), "run")
    with pytest.raises(InputError, match="C6 cannot be frozen: vit_s16 has the stages C1 to C5"):
        registry.reject_depth("vit_s16", optimizer.frozen_layers("C1-C6"), "run")


@pytest.mark.slow
def test_a_bundle_scores_explains_and_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bundle.load(make_untrained(tmp_path / "b", backbone="vit_s16"))
    counts = np.random.default_rng(0).integers(-999, 999, (1, 128, 128)).astype(np.int16)
    score = model.score_rois(counts)[0]
    program = jax.export.deserialize(bytearray(stablehlo.to_stablehlo(model)))
    np.testing.assert_allclose(program.call(np.float32(counts)), score, atol=1e-5)
    monkeypatch.setattr(scoring, "STEPS", 2)
    attribution = scoring.attribution_map(model, counts[0])
    assert attribution.shape == (128, 128) and np.abs(attribution).max() > 0
