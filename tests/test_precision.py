"""Products and convolutions have the precision of the config, forward and backward, and each
program that scores, extracts features or exports has float32.

JAX's lowered programs state the precision of every operation. Whether a device computes in TF32
cannot be measured on a CPU.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import environment
from mtl_jax.analysis import features, gradients
from mtl_jax.bundle import stablehlo
from mtl_jax.models import alexnet, registry
from mtl_jax.models.base import Network, init
from mtl_jax.pretraining import fractals, network
from mtl_jax.pretraining.objective import classification_objective
from mtl_jax.pretraining.task import Examples
from mtl_jax.pretraining.train import _evaluate
from mtl_jax.training import feature_cache, predict, software
from mtl_jax.training.dataset import Dataset, make_dataset
from mtl_jax.training.objective import multi_task_objective
from mtl_jax.types import Batch, InputError

ROOT = Path(__file__).parents[1]
OPERATIONS = re.compile(r"stablehlo\.(convolution|dot_general)\b.*")
LEVELS = {"float32": "HIGHEST", "tf32": "HIGH", "bfloat16": "DEFAULT"}  # XLA's names
BACKBONES = ("alexnet", "resnet18", "vit_s16")
LIKE = jax.ShapeDtypeStruct


def precisions(program: str) -> tuple[int, set[str]]:
    """Return the number of products and convolutions of a StableHLO text, and their precisions."""
    lines = [match[0] for match in OPERATIONS.finditer(program)]
    found = set()
    for line in lines:
        stated = re.search(r"precision(?:_config)? = \[([^\]]*)\]", line)
        levels = re.findall(r"DEFAULT|HIGHEST|HIGH", stated[1]) if stated else ["DEFAULT"]
        found |= set(levels)
    return len(lines), found


def lowered(function: object, *arguments: object) -> str:
    return jax.jit(function).lower(*arguments).as_text()


def params_of(model: Network) -> dict:
    return jax.eval_shape(lambda: init(model, jax.random.key(0)))


def make_rois() -> Dataset:
    pixels = [np.random.default_rng(0).normal(0, 500, (4, 128, 128)).astype(np.int16)]
    return make_dataset(pixels, [np.arange(4) % 2], np.float32([0]), np.float32([500]))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("precision", LEVELS)
def test_forward_and_backward_operations_of_the_training_have_the_precision(
    backbone: str, precision: str
) -> None:
    model = registry.build(backbone)
    batch = Batch(
        LIKE((2, 128, 128, 1), jnp.float32),
        LIKE((2,), jnp.int32),
        LIKE((2,), jnp.int32),
        LIKE((2,), jnp.float32),
    )
    objective = multi_task_objective(model, (1.0,), precision=precision)
    forward = lowered(objective, params_of(model), batch, jax.random.key(0))
    both = lowered(
        jax.value_and_grad(objective, has_aux=True), params_of(model), batch, jax.random.key(0)
    )
    n_forward, _ = precisions(forward)
    n_both, found = precisions(both)
    n_resampling = 2 if model.input_size else 0  # products that resample ROIs, always in float32
    assert found == {LEVELS[precision]} | ({"HIGHEST"} if n_resampling else set())
    # Each operation has two gradients, the first one none of the images.
    assert n_both - n_resampling == 3 * (n_forward - n_resampling) - 1 >= 29
    unset = lowered(jnp.matmul, *[LIKE((3, 3), jnp.float32)] * 2)
    assert precisions(unset) == (1, {"DEFAULT"})


def test_jaxs_default_does_not_change_the_network() -> None:
    model = registry.build("alexnet")
    image = LIKE((1, 128, 128, 3), jnp.float32)
    with jax.default_matmul_precision("bfloat16"):
        program = lowered(model.apply, {"params": params_of(model)}, image)
    assert precisions(program) == (10, {"HIGHEST"})


@pytest.mark.parametrize("head", ["fully_connected", "pooled"])
@pytest.mark.parametrize("precision", LEVELS)
def test_pretraining_has_the_precision_and_its_evaluation_float32(
    head: str, precision: str
) -> None:
    config = network.NetworkConfig(64, 3, 16, head, "random", True, precision)
    params = jax.eval_shape(lambda: network.init(config, jax.random.key(0)))
    examples = Examples(
        LIKE((2, 64, 64, 3), jnp.float32), LIKE((2,), jnp.int32), LIKE((2,), jnp.float32)
    )
    gradient = jax.grad(classification_objective(config, 0.5), has_aux=True)
    count, found = precisions(lowered(gradient, params, examples, jax.random.key(0)))
    layers = 8 if head == "fully_connected" else 6
    assert found == {LEVELS[precision]} and count == 3 * layers - 1
    evaluation = _evaluate.lower(config, params, examples).as_text()
    assert precisions(evaluation) == (layers, {"HIGHEST"})
    images = lowered(lambda key: fractals.render(key, jnp.zeros(1, int), 32), jax.random.key(0))
    assert precisions(images)[1] == {"HIGHEST"}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_scores_features_analyses_and_exports_are_float32(backbone: str) -> None:
    model, rois = registry.build(backbone), make_rois()
    params, indices = params_of(model), np.arange(8)
    about = {"run": {"input_mean": {"sfm": 0.0}, "input_std": {"sfm": 1.0}}}
    zeros = jax.tree.map(lambda like: np.zeros(like.shape, np.float32), params)
    bundle = SimpleNamespace(
        task=lambda name: "sfm", tasks=["sfm"], about=about, network=model, params=zeros
    )
    programs = {
        "scores": predict._mean_of_eight(model, "C1").lower(params, rois, indices),
        "activations": feature_cache._compile_layers(model, "C5").lower(params, rois, indices),
        "features": features._mean_of_eight.lower(model, params, rois, jnp.arange(1)),
        "gradients": gradients._gradients.lower(model, params, np.zeros((2, 128, 128)), 0),
        "export": jax.jit(stablehlo.score_function(bundle)).lower(LIKE((1, 128, 128), jnp.float32)),
    }
    for name, program in programs.items():
        count, found = precisions(program.as_text())
        assert found == {"HIGHEST"} and count >= 5, name


def test_tf32_is_float32_on_cpus_and_bfloat16_is_not() -> None:
    """A sum of products in bfloat16 has an error of about 2^-8 of its terms."""
    if jax.default_backend() != "cpu":
        pytest.skip("a statement about CPUs")
    rng = np.random.default_rng(1)
    params = {"C1": {"kernel": rng.normal(size=(11, 11, 3, 64)), "bias": np.zeros(64)}}
    image, params = jax.tree.map(np.float32, (rng.normal(size=(2, 128, 128, 3)), params))

    def output(precision: str) -> np.ndarray:
        dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
        weights, x = jax.tree.map(lambda a: jnp.asarray(a, dtype), (params, image))
        return np.float32(alexnet.forward(weights, x, last="C1", precision=precision))

    exact = output("float32")
    np.testing.assert_array_equal(output("tf32"), exact)
    assert 1e-4 < np.abs(output("bfloat16") - exact).max() / exact.max() < 0.1


def test_a_default_precision_of_jax_is_rejected() -> None:
    message = "JAX_DEFAULT_MATMUL_PRECISION=.* is not supported: unset it; config.train.precision"
    environment.reject_settings()
    with jax.default_matmul_precision("high"), pytest.raises(InputError, match=message):
        environment.reject_settings()
    code = "from mtl_jax import environment; environment.reject_settings()"
    ended = run(code, JAX_DEFAULT_MATMUL_PRECISION="bfloat16")
    assert "InputError: JAX_DEFAULT_MATMUL_PRECISION=bfloat16 is not supported" in ended.stderr


def run(code: str, **variables: str) -> subprocess.CompletedProcess:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=300
    )


def test_deterministic_operations_reach_the_compiler(tmp_path: Path) -> None:
    """XLA writes the options of each program that it compiles."""
    code = (
        "import jax; from mtl_jax import environment, config, launch\n"  # imported, not started
        "c = config.default(); c.deterministic = {}\n"
        "launch.prepare(c); environment.start_jax()\n"
        "from mtl_jax.training import software; print(software.record()['deterministic'])\n"
        "jax.jit(lambda x: x + 1)(1.0)"
    )
    for value in (True, False):
        folder = tmp_path / str(value)
        ended = run(code.format(value), XLA_FLAGS=f"--xla_dump_to={folder}")
        assert ended.stdout == f"{value}\n", ended.stderr
        options = [path.read_text() for path in folder.glob("*debug_options*")]
        assert options
        assert any("xla_gpu_deterministic_ops: true" in text for text in options) == value


def test_a_flag_that_xla_has_read_already_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    jax.devices()
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    environment.set_deterministic(False)
    with pytest.raises(InputError, match="config.deterministic=True: JAX has started"):
        environment.set_deterministic(True)
    assert "XLA_FLAGS" not in os.environ
    for flags, value in (
        ("--xla_gpu_deterministic_ops", True),
        ("--xla_a=1 --xla_gpu_deterministic_ops=true", True),
        ("--xla_gpu_deterministic_ops=true --xla_gpu_deterministic_ops=false", False),
        ("--xla_gpu_deterministic_ops_of_another=true", False),
    ):
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert software.record()["deterministic"] == value
        environment.set_deterministic(value)
        if value:
            with pytest.raises(InputError, match="but config.deterministic is False: set it to"):
                environment.set_deterministic(False)
        assert os.environ["XLA_FLAGS"] == flags


def test_importing_the_training_does_not_start_jax() -> None:
    """Ray's workers import it before they set the flag."""
    code = (
        "import mtl_jax.experiments.train_runs; from mtl_jax import environment\n"
        "environment.set_deterministic(True)"
    )
    ended = run(code, XLA_FLAGS="")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("platform", "matmul", "filled"),
    [("cpu", None, "highest"), ("gpu", None, None), ("cpu", "bfloat16", "bfloat16")],
)
def test_records_of_earlier_versions(platform: str, matmul: str | None, filled: str | None) -> None:
    """Their float32 is this version's on CPUs; on GPUs it may be TF32, and another JAX default."""
    recorded = {"platform": platform, "precision": {"matmul": matmul, "train": "float32"}}
    later = software.add_later_fields(recorded)
    assert later["precision"] == {"matmul": filled, "train": "float32"}
    assert later["deterministic"] is False
    assert software.add_later_fields({"deterministic": True})["deterministic"] is True
