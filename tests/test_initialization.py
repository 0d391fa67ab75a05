"""Initialization schemes: the initial weights, and the learning rate and decay of biases."""

import copy
import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax.traverse_util import flatten_dict, unflatten_dict
from kit import small_network
from test_training import NETWORK, fit_runs

from mtl_jax import config
from mtl_jax.experiments import train_runs
from mtl_jax.models import registry
from mtl_jax.models.alexnet import LAYERS, AlexNet
from mtl_jax.models.base import Network, init, param_shapes
from mtl_jax.models.initialization import INITIALIZATIONS, reinitialize
from mtl_jax.report import methods
from mtl_jax.training import optimizer
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.setup import TrainingRun
from mtl_jax.types import InputError, Run
from mtl_jax.weights import Weights

# Standard deviation of the kernel, and bias, of C1 ... C5, F1 ... F5, from
# Krizhevsky et al. 2012, section 5, and cuda-convnet2's layers-imagenet-1gpu.cfg.
EXPECTED = {
    "krizhevsky2012": [
        *((0.01, 0.0), (0.01, 1.0), (0.01, 0.0), (0.01, 1.0), (0.01, 1.0)),
        *((0.01, 1.0), (0.01, 1.0), (0.01, 1.0), (0.01, 1.0), (0.01, 0.0)),
    ],
    "cuda_convnet2": [
        *((0.01, 0.0), (0.01, 1.0), (0.03, 0.0), (0.03, 1.0), (0.03, 1.0)),
        *((0.01, 1.0), (0.01, 1.0), (0.01, 0.0), (0.01, 0.0), (0.01, 0.0)),
    ],
}


@functools.cache
def random_params(network: Network, name: str, seed: int = 11) -> dict[str, Any]:
    return jax.device_get(init(network, jax.random.key(seed), name))


def test_config_and_report_list_every_scheme() -> None:
    assert tuple(INITIALIZATIONS) == config.INITIALIZATIONS == tuple(methods.INITIALIZATIONS)


def test_he_equals_the_initialization_of_the_network_module() -> None:
    image = jnp.zeros((1, 128, 128, 3))
    module = flatten_dict(jax.jit(NETWORK.init)(jax.random.key(11), image)["params"], sep="/")
    ours = flatten_dict(random_params(NETWORK, "he"), sep="/")
    assert ours.keys() == module.keys()
    for path, value in ours.items():
        np.testing.assert_array_equal(value, module[path])
        assert path.endswith("kernel") or not value.any()
    fan_in = ours["F2/kernel"].shape[0]
    assert ours["F2/kernel"].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)


@pytest.mark.parametrize("name", EXPECTED)
def test_kernels_are_normal_and_biases_exact_in_each_layer(name: str) -> None:
    params = random_params(NETWORK, name)
    for layer, (std, bias) in zip(LAYERS, EXPECTED[name], strict=True):
        kernel = params[layer]["kernel"].ravel()
        # Bounds of five standard errors of the mean and of the standard deviation.
        assert abs(kernel.mean()) < 5 * std / np.sqrt(kernel.size), layer
        assert abs(kernel.std() - std) < 5 * std / np.sqrt(2 * kernel.size), layer
        # A truncated normal of the same standard deviation fails this in the larger layers.
        sample = kernel[:20000].astype(np.float64)
        assert scipy.stats.kstest(sample, "norm", (0, std)).pvalue > 1e-4, layer
        np.testing.assert_array_equal(params[layer]["bias"], np.float32(bias))


def test_kernels_differ_between_layers_and_keys() -> None:
    params = random_params(NETWORK, "krizhevsky2012")
    same_key = init(NETWORK, jax.random.key(11), "krizhevsky2012")
    other_key = random_params(NETWORK, "krizhevsky2012", 12)
    first_values = [params[layer]["kernel"].ravel()[:192] for layer in LAYERS]
    correlation = np.corrcoef(first_values) - np.eye(len(LAYERS))
    assert np.abs(correlation).max() < 0.35  # five standard errors at 192 numbers
    for layer in LAYERS:
        np.testing.assert_array_equal(params[layer]["kernel"], same_key[layer]["kernel"])
        assert not np.array_equal(params[layer]["kernel"], other_key[layer]["kernel"])


def test_blocks_of_other_backbones_are_not_reinitialized() -> None:
    shapes = param_shapes(registry.build("resnet18", outputs=6))
    leaves = {path: jnp.zeros(shape) for path, shape in shapes.items() if path[:2] != "F2"}
    zeros = unflatten_dict(leaves, sep="/")
    scheme = INITIALIZATIONS["cuda_convnet2"]
    changed = reinitialize(zeros, jax.random.key(0), scheme)
    for layer in AlexNet.stages:
        assert not any(leaf.any() for leaf in jax.tree.leaves(changed[layer]))
    assert changed["F5"]["kernel"].shape == (100, 6)
    assert changed["F1"]["kernel"].std() == pytest.approx(0.01, rel=0.01)
    assert (changed["F1"]["bias"] == 1).all()


@pytest.mark.parametrize(("bias_rate", "decay_biases"), [(2.0, False), (2.0, True), (1.0, False)])
def test_bias_updates_match_numpy(bias_rate: float, decay_biases: bool) -> None:
    """The update is v <- 0.9 v + g + decay w and w <- w - rate factor v, as in PyTorch's SGD with
    one parameter group of kernels and one of biases."""
    rng = np.random.default_rng(0)
    shapes = {
        "C1": {"kernel": (2, 3), "bias": (3,)},
        "C2": {"block1": {"conv1": {"kernel": (3, 2), "bias": (2,)}}},
        "F1": {"kernel": (2, 2), "bias": (2,)},
    }
    params = unflatten_dict(
        {path: rng.normal(size=shape) for path, shape in flatten_dict(shapes, sep="/").items()},
        sep="/",
    )
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.5, decay_biases), ("C1",), bias_rate)
    with jax.enable_x64(True):
        state = tx.init(params)
        assert sum(np.ndim(leaf) > 0 for leaf in jax.tree.leaves(state)) == 4
        expected, velocity = flatten_dict(params, sep="/"), {}
        trained = copy.deepcopy(params)
        for rate in (0.1, 0.05, 0.01):
            gradient = {path: rng.normal(size=w.shape) for path, w in expected.items()}
            for path, w in expected.items():
                if path.startswith("C1"):
                    continue
                is_bias = path.endswith("bias")
                decay = 0.0 if is_bias and not decay_biases else 0.5
                velocity[path] = 0.9 * velocity.get(path, 0.0) + gradient[path] + decay * w
                expected[path] = w - rate * (bias_rate if is_bias else 1.0) * velocity[path]
            direction, state = tx.update(unflatten_dict(gradient, sep="/"), state, trained)
            trained = jax.tree.map(lambda w, d, r=rate: w - r * d, trained, direction)
        for path, w in flatten_dict(trained, sep="/").items():
            np.testing.assert_allclose(w, expected[path], rtol=1e-12, err_msg=path)
    np.testing.assert_array_equal(trained["C1"]["bias"], params["C1"]["bias"])


def make_trainings(folder: Path, name: str, count: int) -> list[TrainingRun]:
    """Return runs with the same convolutions, like pretrained ones."""
    convolutions = random_params(NETWORK, "he")
    runs = []
    for seed in range(count):
        random_layers = random_params(NETWORK, name, seed)
        params = random_layers | {layer: convolutions[layer] for layer in AlexNet.stages}
        runs.append(
            TrainingRun(folder / str(seed), params, jax.random.key(7 + seed), lambda line: None)
        )
    return runs


def test_bias_rate_in_replicas_and_single_runs(tmp_path: Path) -> None:
    """In the first step, biases of 0, which decay does not change, move twice as far as at an
    equal rate; kernels move equally far."""
    settings = {"cache": tmp_path, "keep": False, "epochs": 1, "batch_size": 80}
    pair = make_trainings(tmp_path / "pair", "cuda_convnet2", 2)
    replicas_params = fit_runs(
        pair, replicas=Replicas(1, 2), initialization="cuda_convnet2", **settings
    )
    before = pair[1].params
    (single,) = fit_runs([pair[1]._replace(folder=tmp_path / "alone")], **settings)
    for layer, name, factor in (("F5", "bias", 2), ("F4", "bias", 2), ("F5", "kernel", 1)):
        change = replicas_params[1][layer][name] - before[layer][name]
        at_equal_rate = np.asarray(single[layer][name] - before[layer][name])
        scale = np.abs(at_equal_rate).max()
        np.testing.assert_allclose(change / scale, factor * at_equal_rate / scale, atol=1e-3)


def test_checkpoint_of_another_initialization_is_rejected(tmp_path: Path) -> None:
    (training,) = make_trainings(tmp_path, "he", 1)
    fit_runs([training], epochs=1, batch_size=80)
    with pytest.raises(InputError, match="of another training run: initialization"):
        fit_runs([training], initialization="krizhevsky2012", epochs=1, batch_size=80)


def test_new_layers_use_the_scheme_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FitCalled(Exception):
        pass

    def fit(trainings: list[TrainingRun], *rest: object) -> None:
        raise FitCalled(trainings[0].params, rest[1])

    monkeypatch.setattr(train_runs.run_data, "make_subsets", lambda *args: {})
    monkeypatch.setattr(train_runs.run_data, "training_dataset", lambda *args: (None, {None: None}))
    monkeypatch.setattr(train_runs.run_data, "subset_key", lambda run: None)
    monkeypatch.setattr(train_runs, "is_on_host", lambda pool: False)
    monkeypatch.setattr(train_runs, "n_epochs", lambda *args: 1)
    monkeypatch.setattr(
        train_runs, "Provenance", lambda *args: SimpleNamespace(record=lambda run: {})
    )
    monkeypatch.setattr(train_runs, "fit", fit)
    pretrained = {"C2": jax.tree.map(lambda a: a + 3, random_params(NETWORK, "he")["C2"])}
    weights = Weights(
        pretrained, {"name": "made up", "backbone": "alexnet", "lrn": False, "arrays_sha256": ""}
    )
    c = config.default()
    c.model.initialization = "krizhevsky2012"
    c.data.cache = str(tmp_path / "cache")
    run = Run("sttl", ("a",), "C1", None, seed=0)
    with small_network.as_alexnet(), pytest.raises(FitCalled) as fit_call:
        train_runs.train_and_score([run], [tmp_path / "run"], {}, None, {"sttl": weights}, c)
    params, training = fit_call.value.args
    assert training.initialization == "krizhevsky2012"
    assert (np.asarray(params["F1"]["bias"]) == 1).all()
    np.testing.assert_array_equal(params["C2"]["bias"], pretrained["C2"]["bias"])
