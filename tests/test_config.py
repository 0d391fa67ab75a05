"""The defaults are the paper's settings; an invalid setting is rejected by its name."""

import importlib.util
from pathlib import Path

import pytest

from mtl_jax import config
from mtl_jax.analysis import embedding
from mtl_jax.types import InputError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))


def test_defaults_are_the_settings_of_the_paper() -> None:
    """Compare with Samala et al. 2017, sections 2.2 to 2.4."""
    c = config.default()
    t = c.train
    assert (t.epochs, t.batch_size, t.momentum, t.weight_decay) == (200, 128, 0.9, 0.0005)
    assert (t.learning_rate, t.final_learning_rate) == (0.001, 0.00004)
    assert (c.model.dropout, c.folds) == (0.5, 4)
    a = c.analysis
    assert (a.perplexity, a.iterations, a.n_init) == (30, 5000, 10)
    assert (embedding.LEARNING_RATE, embedding.MOMENTUM) == (500, 0.5)
    assert a.maps == 6


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", ["paper", "demo"])
def test_every_config_loads_and_is_valid(path: Path, preset: str) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config.validate(module.get_config(preset))
    assert "--config=" in module.__doc__ and path.name in module.__doc__


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", "C2-C3", "C0, C1, C1-C2, C1-C3, C1-C4, C1-C5"),
        ("study", "tset", "did you mean 'test'"),
        ("approaches", (), "at least one"),
        ("approaches", ("mttl", "mttl"), "distinct values"),
        ("folds", 1, "an integer >= 2"),
        ("seed", -1, "an integer in [0"),
        ("devices", 3, "multiple of devices"),
        ("data.sources", ("mini_mias",), "name:path"),
        ("data.test_fraction", 1.0, "in [0, 1)"),
        ("model.dropout", 1.0, "in [0, 1)"),
        ("model.initialization", "krizhevsky", "did you mean 'krizhevsky2012'"),
        ("train.learning_rate", 0.0, "a number > 0"),
        ("train.final_learning_rate", 0.1, "<= train.learning_rate"),
        ("train.learning_rate", float("inf"), "a number > 0"),
        ("train.schedule", "steps", "divided by a power of ten"),  # 0.001 to 0.00004
        ("train.writers", ("csv", "csv"), "distinct names"),
        ("train.task_weights", ("sfm=2",), "name:number"),
        ("train.task_weights", ("sfm:-2",), "name:number"),
        ("train.task_weights", ("sfm:inf",), "finite"),
        ("train.task_weights", ("sfm:1e999",), "finite"),
        ("train.task_weights", ("sfm:nan",), "finite"),
        ("approaches", ("mttl+weight.sfm=inf",), "finite"),
        ("ray.gpus", 1.5, "0, a number in (0, 1), an integer >= 1, or None"),
        ("ray.gpus", -1.0, "0, a number in (0, 1), an integer >= 1, or None"),
        ("ray.gpus", float("inf"), "an integer >= 1"),
    ],
)
def test_invalid_settings_are_rejected(field: str, value: object, message: str) -> None:
    c = config.default()
    c.update_from_flattened_dict({field: value})
    with pytest.raises(InputError) as rejected:
        config.validate(c)
    assert message in str(rejected.value) and "config." in str(rejected.value)
    assert "\n" not in str(rejected.value)


def test_a_run_on_ray_requests_no_fewer_gpus_than_its_devices() -> None:
    c = config.default()
    c.devices = 2
    for gpus in (None, 0.0, 2.0, 4.0):
        c.executor, c.ray.gpus = "ray", gpus
        config.validate(c)
    for gpus in (0.5, 1.0):
        c.executor, c.ray.gpus = "ray", gpus
        with pytest.raises(InputError, match="ray.gpus.*None, 0, or an integer >= devices"):
            config.validate(c)
        c.executor = "local"
        config.validate(c)
