"""Schedules of the learning rate, as in `config.train.schedule`."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

# Maps a step, counted from 0, the number of steps, and the first and the last rate to a rate.
Schedule = Callable[[jax.Array, int, float, float], jax.Array]


def exponential(step: jax.Array, steps: int, first: float, last: float) -> jax.Array:
    """Return the exponential decay, `first` at step 0 to `last` at `steps` - 1 (section 2.2)."""
    return first * (last / first) ** (step / max(steps - 1, 1))


def cosine(step: jax.Array, steps: int, first: float, last: float) -> jax.Array:
    """Return half a cosine, `first` at step 0 to `last` after all `steps` (Loshchilov and Hutter
    2017, arXiv:1608.03983, without restarts)."""
    return last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * (step / steps)))


def steps_of_ten(step: jax.Array, steps: int, first: float, last: float) -> jax.Array:
    """Return `first`, divided by ten at equal intervals until about `last`, as Krizhevsky et al.
    2012, section 5, did three times by hand."""
    drops = round(math.log10(first / last))
    return first * 10.0 ** -jnp.floor(step / steps * (drops + 1))


SCHEDULES: dict[str, Schedule] = {
    "exponential": exponential,
    "cosine": cosine,
    "steps": steps_of_ten,
}


def learning_rates(train: ConfigDict, step: jax.Array, steps: int) -> jax.Array:
    """Return the learning rate of each step, of `steps` in all, by config.train.

    In the fraction `warmup` of the steps the rate rises linearly from 0.
    """
    schedule = SCHEDULES[train.schedule]
    rates = schedule(step, steps, train.learning_rate, train.final_learning_rate)
    if not train.warmup:
        return rates
    return rates * jnp.minimum(1.0, step / steps / train.warmup)
