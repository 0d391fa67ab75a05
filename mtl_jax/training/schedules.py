"""Schedules of the learning rate, as in `config.train.schedule`."""

import math
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

# Maps a step, counted from 0, the number of steps, and the first and the last rate to a rate.
Schedule = Callable[[np.ndarray, int, float, float], np.ndarray]


def exponential(step: np.ndarray, steps: int, first: float, last: float) -> np.ndarray:
    """Return the exponential decay, `first` at step 0 to `last` at `steps` - 1 (section 2.2)."""
    return first * (last / first) ** (step / max(steps - 1, 1))


def cosine(step: np.ndarray, steps: int, first: float, last: float) -> np.ndarray:
    """Return half a cosine, `first` at step 0 to `last` after all `steps` (Loshchilov and Hutter
    2017, arXiv:1608.03983, without restarts)."""
    return last + (first - last) * 0.5 * (1 + np.cos(np.pi * (step / steps)))


def steps_of_ten(step: np.ndarray, steps: int, first: float, last: float) -> np.ndarray:
    """Return `first`, divided by ten at equal intervals until about `last`, as Krizhevsky et al.
    2012, section 5, did three times by hand."""
    drops = round(math.log10(first / last))
    return first * 10.0 ** -np.floor(step / steps * (drops + 1))


SCHEDULES: dict[str, Schedule] = {
    "exponential": exponential,
    "cosine": cosine,
    "steps": steps_of_ten,
}


def learning_rates(train: ConfigDict, step: np.ndarray, steps: int) -> np.ndarray:
    """Return the learning rate of each step, float32, of `steps` in all, by config.train.

    In the fraction `warmup` of the steps the rate rises linearly from 0. Computed on the host: the
    device may be computing the epoch before.
    """
    schedule = SCHEDULES[train.schedule]
    rates = schedule(np.asarray(step), steps, train.learning_rate, train.final_learning_rate)
    if train.warmup:
        rates = rates * np.minimum(1.0, step / steps / train.warmup)
    return rates.astype(np.float32)
