"""Loss functions, optimizers and schedules of the registries, compared with NumPy."""

import jax
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
    field: str, names: list[str], registry: dict[str, object]
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
    np.testing.assert_allclose(ours, -np.log(true_class_probability()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_equals_numpy(gamma: float) -> None:
    loss = make_loss("focal", focal_gamma=gamma)
    p = true_class_probability()
    expected = -((1 - p) ** gamma) * np.log(p)
    ours = loss(jnp.asarray(LOGITS), jnp.asarray(LABEL))
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=1e-6)
    # By hand: p = 0.9 gives 0.1 ** gamma * 0.10536.
    ours = loss(jnp.log(jnp.array([[0.1, 0.9]])), jnp.array([1]))
    assert float(ours[0]) == pytest.approx(0.1**gamma * 0.1053605, rel=1e-5)


def test_the_gradient_of_the_focal_loss_is_finite_for_a_certain_prediction() -> None:
    loss = make_loss("focal", focal_gamma=0.5)
    gradient = jax.grad(lambda logits: loss(logits, jnp.array([1])).sum())(jnp.array([[0.0, 99.0]]))
    assert np.isfinite(gradient).all()


def test_adamw_equals_numpy_and_leaves_frozen_layers_alone() -> None:
    """Loshchilov and Hutter 2019, algorithm 2, five steps, the decay multiplied by the rate."""
    rng = np.random.default_rng(0)
    w = {name: {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)} for name in "ab"}
    train = config.default().train
    train.optimizer, train.weight_decay = "adamw", 0.1
    tx = optimizer.make_optimizer(train, ("b",))
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, w)
        state = tx.init(params)
        assert sum(np.ndim(leaf) > 0 for leaf in jax.tree.leaves(state)) == 4  # two moments of a
        mean = {leaf: np.zeros_like(value) for leaf, value in w["a"].items()}
        square = {leaf: np.zeros_like(value) for leaf, value in w["a"].items()}
        for number, rate in enumerate((0.1, 0.1, 0.05, 0.02, 0.01), 1):
            gradient = jax.tree.map(lambda value: rng.normal(size=value.shape), w)
            for leaf, g in gradient["a"].items():
                mean[leaf] = 0.9 * mean[leaf] + 0.1 * g
                square[leaf] = 0.999 * square[leaf] + 0.001 * g**2
                step = mean[leaf] / (1 - 0.9**number)
                step /= np.sqrt(square[leaf] / (1 - 0.999**number)) + 1e-8
                w["a"][leaf] = w["a"][leaf] - rate * (step + 0.1 * w["a"][leaf])
            direction, state = tx.update(gradient, state, params)
            params = jax.tree.map(lambda p, d, r=rate: p - r * d, params, direction)
    for name in "ab":
        for leaf, value in w[name].items():
            np.testing.assert_allclose(params[name][leaf], value, rtol=1e-12)


def learning_rates(steps: int, **settings: object) -> np.ndarray:
    train = config.default().train
    train.update({"learning_rate": 1.0, "final_learning_rate": 0.2, **settings})
    return np.asarray(schedules.learning_rates(train, jnp.arange(steps, dtype=jnp.float32), steps))


def test_schedules_go_from_the_first_to_the_final_rate() -> None:
    rates = learning_rates(101)
    np.testing.assert_allclose(rates, 0.2 ** (np.arange(101) / 100), rtol=1e-5)
    rates = learning_rates(100, schedule="cosine")
    np.testing.assert_allclose(rates, 0.6 + 0.4 * np.cos(np.pi * np.arange(100) / 100), rtol=1e-5)


@pytest.mark.parametrize("schedule", config.SCHEDULES)
def test_warmup_rises_linearly_from_zero(schedule: str) -> None:
    plain, warm = (learning_rates(100, schedule=schedule, warmup=w) for w in (0.0, 0.1))
    np.testing.assert_allclose(warm, plain * np.minimum(np.arange(100) / 10, 1), rtol=1e-5)


def test_steps_divides_by_ten_at_equal_intervals() -> None:
    rates = learning_rates(100, schedule="steps", learning_rate=0.01, final_learning_rate=0.00001)
    expected = [1e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-5]
    np.testing.assert_allclose(rates[[0, 24, 26, 51, 76, 99]], expected, rtol=1e-5)
