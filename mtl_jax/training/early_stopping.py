"""Early stopping: end a run when its loss on an inner set no longer falls; keep its best weights.

The inner set is drawn from the training cases of the run (`experiments.inner_set`), never from a
fold or a test set that is reported.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mtl_jax.training import multihost
from mtl_jax.training.writers import EpochRecord
from mtl_jax.types import InputError, Params

LOSS = "inner_loss"  # in the history


class EarlyStopping:
    """A monitor (`training.loop`) that keeps the weights with the lowest loss.

    The loss is evaluated every `interval` epochs and after the last one. The run stops when
    `patience` evaluations in a row have not lowered it; its result are the best weights.
    """

    def __init__(
        self,
        evaluate: Callable[[Params], float],
        params: Params,
        interval: int,
        patience: int,
        last_epoch: int,
    ) -> None:
        self._evaluate, self._interval = evaluate, interval
        self._patience, self._last_epoch = patience, last_epoch
        self._best = jax.tree.map(np.array, params)
        self._loss, self._epoch, self._waited = np.inf, 0, 0

    @property
    def stopped(self) -> bool:
        """Whether the loss has not fallen for `patience` evaluations."""
        return self._waited >= self._patience

    def is_due(self, epoch: int) -> bool:
        """Return whether the loss is evaluated after this epoch."""
        return epoch % self._interval == 0 or epoch == self._last_epoch

    def observe(self, epoch: int, params: Callable[[], Params]) -> EpochRecord:
        """Evaluate the loss if it is due, and return it for the record of the epoch.

        Of several processes, process 0 evaluates, and all of them decide by its value.
        """
        if not self.is_due(epoch):
            return {}
        weights = params()
        loss = float(multihost.from_primary(lambda: self._evaluate(weights)))
        if not np.isfinite(loss):
            raise InputError(
                f"the loss on the inner set is NaN or infinite after epoch {epoch}; lower"
                " config.train.learning_rate"
            )
        self._waited += 1
        if loss < self._loss:
            self._best = jax.tree.map(np.array, weights)
            self._loss, self._epoch, self._waited = loss, epoch, 0
        return {LOSS: loss}

    def result(self, params: Params) -> Params:
        """Return the weights with the lowest loss."""
        return self._best

    def state(self) -> dict[str, Any]:
        """Return the best weights, their loss and epoch, and the number of evaluations since."""
        return {
            "params": self._best,
            "loss": np.float64(self._loss),
            "epoch": np.int32(self._epoch),
            "waited": np.int32(self._waited),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the state in a checkpoint."""
        self._best = jax.tree.map(np.array, state["params"])
        self._loss, self._epoch = float(state["loss"]), int(state["epoch"])
        self._waited = int(state["waited"])
