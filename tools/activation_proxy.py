"""Estimate AUCs without training: logistic regression on the frozen C5 activations of AlexNet.

A thousand ROIs take a minute on a CPU, so that learning curves of many collections can be compared.
AUCs are per view. Cases that are marked as an official test set are never used.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from mtl_jax.models import alexnet
from mtl_jax.types import InputError, Params, RoiSet

PENALTY = 1e-4  # inverse of the ridge penalty, for standardized activations
BATCH = 64
HELD_OUT = 1 / 3  # of the cases, on average
FEWEST = 0.75  # of the training views asked for


class Features(NamedTuple):
    """Activations (n, nodes), label (n,) and case (n,) of the ROIs of a collection."""

    values: np.ndarray
    label: np.ndarray
    case: np.ndarray

    def select(self, rows: np.ndarray) -> "Features":
        return Features(*(column[rows] for column in self))


def compute_features(rois: RoiSet, params: Params) -> Features:
    """Return the C5 activations, mean of eight orientations, of ROIs outside the test set.

    Pixels and activations are standardized over the collection.
    """
    usable = rois.index["split"] != "test"
    if not usable.any():
        raise InputError(f"{rois.name} has no view outside its official test set")
    pixels = np.concatenate(rois.shards)[usable].astype(np.float32)
    pixels = (pixels - pixels.mean()) / pixels.std()
    forward = jax.jit(lambda batch: alexnet.forward(params, batch, last="C5"))
    rows = []
    for start in range(0, len(pixels), BATCH):
        batch = np.resize(pixels[start : start + BATCH], (BATCH, *pixels.shape[1:]))
        total = 0.0
        for orientation in range(8):
            image = np.rot90(batch, orientation % 4, (1, 2))
            image = image[:, :, ::-1] if orientation >= 4 else image
            image = np.repeat(image[..., None], 3, axis=-1)
            total = total + np.asarray(forward(jnp.asarray(image)))
        rows.append((total / 8).reshape(BATCH, -1))
    values = StandardScaler().fit_transform(np.concatenate(rows)[: len(pixels)])
    return Features(values, rois.index["label"][usable], rois.index["case_id"][usable])


def learning_curve(data: Features, sizes: Sequence[int], draws: int) -> np.ndarray:
    """Return the mean AUC (sizes,) on held-out cases after training on about `sizes` views.

    In each draw a third of the cases is held out, and training cases are drawn from the rest.
    """
    return np.mean([[_draw(data, data, size, k) for size in sizes] for k in range(draws)], axis=0)


def transfer(train: Features, test: Features, size: int, draws: int) -> float:
    """Return the mean AUC on held-out cases of `test` after training on `size` views of `train`."""
    return float(np.mean([_draw(train, test, size, k) for k in range(draws)]))


def jackknife(
    statistic: Callable[..., np.ndarray | float], sets: Sequence[Features], groups: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the statistic of `sets` and its 95% interval, by leaving out groups of cases.

    The cases of each set are divided at random into `groups`; one group of each is left out.
    """
    value = np.asarray(statistic(*sets))
    parts = [_divide(data.case, groups, number) for number, data in enumerate(sets)]
    without = [
        statistic(*(d.select(part != g) for d, part in zip(sets, parts, strict=True)))
        for g in range(groups)
    ]
    se = np.sqrt((groups - 1) * np.var(without, axis=0))
    half = stats.t.ppf(0.975, groups - 1) * se
    return value, value - half, value + half


def mean_interval(
    values: Sequence[np.ndarray | float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean of independent `values` and its 95% interval (t)."""
    mean, count = np.mean(values, axis=0), len(values)
    half = stats.t.ppf(0.975, count - 1) * np.std(values, axis=0, ddof=1) / np.sqrt(count)
    return mean, mean - half, mean + half


def difference(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return a - b and its interval, of independent values with symmetric intervals."""
    value = a[0] - b[0]
    half = np.hypot(a[2] - a[0], b[2] - b[0])
    return value, value - half, value + half


def _draw(train: Features, test: Features, size: int, seed: int) -> float:
    training_cases = _split(train.case, seed)[1]
    views = np.cumsum([np.sum(train.case == case) for case in training_cases])
    if not len(views) or views[-1] < FEWEST * size:
        raise InputError(f"{len(train.case)} views are too few to train on {size} of them")
    training_cases = training_cases[: np.searchsorted(views, size) + 1]
    training_set = train.select(np.isin(train.case, training_cases))
    held_out = test.select(np.isin(test.case, _split(test.case, seed)[0]))
    if min(len(set(training_set.label)), len(set(held_out.label))) < 2:
        raise InputError(f"{len(train.case)} views are too few: a set of them has one class")
    model = LogisticRegression(C=PENALTY, max_iter=2000)
    model.fit(training_set.values, training_set.label)
    return float(roc_auc_score(held_out.label, model.decision_function(held_out.values)))


def _split(case: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return held-out cases and the others, both in random order.

    Neither depends on the other cases, so that the jackknife leaves out groups of the same draws.
    """
    number = {name: _random_number(seed, name) for name in sorted(set(case.tolist()))}
    order = sorted(number, key=number.__getitem__)
    held_out = sum(value < HELD_OUT for value in number.values())
    return np.array(order[:held_out]), np.array(order[held_out:])


def _random_number(seed: int, name: str) -> float:
    """Return a number from 0 to 1. A CRC would give related orders with all seeds."""
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _divide(case: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """Return the group of each row; the rows of a case are in one group."""
    names, row_case = np.unique(case, return_inverse=True)
    return np.random.default_rng(seed).permutation(np.arange(len(names)) % groups)[row_case]
