"""Loss functions, optimizers and schedules of the registries, compared with NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import config
from mtl_jax.training import losses, optimizer, schedules, writers
from mtl_jax.types import InputError


@pytest.mark.parametrize(
    ("field", "names", "registry"),
    [
        ("train.loss", config.LOSSES, losses.LOSSES),
        ("train.optimizer", config.OPTIMIZERS, optimizer.OPTIMIZERS),
        ("train.schedule", config.SCHEDULES, schedules.SCHEDULES),
        ("train.writers", config.WRITERS, writers.WRITERS),
    ],
)
def test_the_config_names_every_entry_of_a_registry(
    field: str, names: tuple[str, ...], registry: dict[str, object]
) -> None:
    assert set(names) == set(registry)
    c = config.default()
    value = ("unknown",) if field == "train.writers" else "unknown"
    c.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=f"config.{field}='unknown' is invalid: expected one of"):
        config.validate(c)


def test_equal_settings_give_the_same_object() -> None:
    """Otherwise every run would compile its own program."""
    train = config.default().train
    for registry, arguments in ((losses.LOSSES, (train,)), (optimizer.OPTIMIZERS, (train, True))):
        for make in registry.values():
            assert make(*arguments) is make(*arguments)


def make_loss(name: str, **settings: float) -> losses.Loss:
    train = config.default().train
    train.update(settings)
    return losses.LOSSES[name](train)


LOGITS = np.random.default_rng(0).normal(0, 3, (50, 2))
LABEL = np.arange(50) % 2


def true_class_probability() -> np.ndarray:
    odds = np.exp(LOGITS)
    return odds[np.arange(50), LABEL] / odds.sum(1)


def test_cross_entropy_equals_numpy() -> None:
    ours = make_loss("cross_entropy")(jnp.asarray(LOGITS), jnp.asarray(LABEL))
    np.testing.assert_allclose(ours, -np.log(true_class_probability()), rtol=1e-5)
