"""Loss and AUC of the held-out fold during training, and the loss of the inner set.

Those of the held-out fold are recorded, but not used to select anything. The inner set, part of the
training cases, decides when to stop. The test set is not evaluated during training.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from mtl_jax import roc
from mtl_jax.experiments import run_data
from mtl_jax.experiments.run_data import Subset
from mtl_jax.models.base import Network
from mtl_jax.training.dataset import Dataset
from mtl_jax.training.predict import Predictor
from mtl_jax.types import Params, RoiSet, Run

Validate = Callable[[Params], Callable[[], dict[str, float]]]  # the result waits for the scores
InnerLoss = Callable[[Params], float]
T = TypeVar("T")
# Smallest probability of the true class, so that the loss is finite.
MIN_PROBABILITY = float(np.finfo(np.float32).eps)


def make_validators(
    runs: Sequence[Run],
    subsets: Mapping[Run, Subset],
    collections: Mapping[str, RoiSet],
    network: Network,
    cached: tuple[str, ...],
    stream: str,
) -> dict[Run, Validate]:
    """Return, for each run of a fold, a function from parameters to one that waits for the
    validation loss and AUC.

    Runs without a fold are scored on the test set, which is not evaluated before training ends.
    Runs that differ only in initialization share their ROIs.
    """

    def make(key: Run) -> Validate:
        held_out = run_data.evaluation_dataset(subsets[key], collections, stream)
        predictor = Predictor(network, held_out, cached)
        return functools.partial(_validate, predictor, _labels(held_out))

    return _share([run for run in runs if run.fold is not None], make)


def make_inner_losses(
    runs: Sequence[Run],
    subsets: Mapping[Run, Subset],
    collections: Mapping[str, RoiSet],
    network: Network,
    cached: tuple[str, ...],
    stream: str,
) -> dict[Run, InnerLoss]:
    """Return, for each run, a function from parameters to the mean cross-entropy of its inner set.

    It is infinite if a score is not finite. Runs that differ only in initialization share the set.
    """

    def make(key: Run) -> InnerLoss:
        inner = run_data.inner_dataset(subsets[key], collections, stream)
        predictor = Predictor(network, inner, cached)
        return functools.partial(_inner_loss, predictor, _labels(inner))

    return _share(runs, make)


def _labels(dataset: Dataset) -> np.ndarray:
    return np.asarray(dataset.label)[: dataset.count]


def _share(runs: Sequence[Run], make: Callable[[Run], T]) -> dict[Run, T]:
    """Return what `make` returns for the subset of each run, made once for equal subsets."""
    made = {key: make(key) for key in dict.fromkeys(map(run_data.subset_key, runs))}
    return {run: made[run_data.subset_key(run)] for run in runs}


def _inner_loss(predictor: Predictor, labels: np.ndarray, params: Params) -> float:
    return loss_and_auc(labels, predictor(params)).get("validation_loss", math.inf)


def _validate(
    predictor: Predictor, labels: np.ndarray, params: Params
) -> Callable[[], dict[str, float]]:
    read_scores = predictor.start(params)
    return lambda: loss_and_auc(labels, read_scores())


def loss_and_auc(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return the mean cross-entropy and the view-level empirical AUC of malignancy probabilities.

    The AUC is left out if all labels are equal, and both if a score is not finite.
    """
    if not np.isfinite(scores).all():
        return {}
    true_class = np.where(labels == 1, scores.astype(float), 1 - scores.astype(float))
    metrics = {"validation_loss": float(-np.log(np.maximum(true_class, MIN_PROBABILITY)).mean())}
    if len(np.unique(labels)) == 2:
        metrics["validation_auc"] = roc.empirical(labels, scores).auc
    return metrics
