"""Loss and AUC of the held-out fold during training. They are recorded and select nothing.

The independent test set is never evaluated here.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mtl_jax import roc
from mtl_jax.experiments import run_data
from mtl_jax.experiments.run_data import Subset
from mtl_jax.models.base import Network
from mtl_jax.training.predict import Predictor
from mtl_jax.types import Params, RoiSet, Run

Validate = Callable[[Params], dict[str, float]]
EPSILON = float(np.finfo(np.float32).eps)  # probability of the true class: the loss stays finite


def make_validators(
    runs: Sequence[Run],
    subsets: Mapping[Run, Subset],
    collections: Mapping[str, RoiSet],
    network: Network,
    cached: tuple[str, ...],
    stream: str,
) -> dict[Run, Validate]:
    """Return what computes the validation loss and AUC from the parameters of each of `runs`.

    Only runs that hold out a fold have one: a run that is scored on the test set must not see it
    before its training ends. Runs that differ in initialization alone share their ROIs.
    """
    found = {}
    for shared in {run_data.subset_key(run): None for run in runs if run.fold is not None}:
        held_out = run_data.evaluation_dataset(subsets[shared], collections, stream)
        found[shared] = _make_validator(
            Predictor(network, held_out, cached), np.asarray(held_out.label)
        )
    return {run: found[run_data.subset_key(run)] for run in runs if run.fold is not None}


def _make_validator(predictor: Predictor, labels: np.ndarray) -> Validate:
    return lambda params: loss_and_auc(labels, predictor(params))


def loss_and_auc(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return the mean cross-entropy and the empirical AUC, per view, of malignancy probabilities.

    There is no AUC where all labels are equal, and nothing where a score is not a number.
    """
    if not np.isfinite(scores).all():
        return {}
    of_truth = np.where(labels == 1, scores.astype(float), 1 - scores.astype(float))
    found = {"validation_loss": float(-np.log(np.maximum(of_truth, EPSILON)).mean())}
    if len(np.unique(labels)) == 2:
        found["validation_auc"] = roc.empirical(labels, scores).auc
    return found
