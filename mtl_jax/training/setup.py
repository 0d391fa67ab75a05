"""What a training is: the settings that several runs share, and what belongs to one run alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from mtl_jax.models.base import Network
from mtl_jax.training import devices, objective, optimizer
from mtl_jax.training.dataset import BatchSource
from mtl_jax.training.epoch import Epoch, make_epoch
from mtl_jax.training.loop import Monitor
from mtl_jax.training.losses import LOSSES
from mtl_jax.training.optimizer import OPTIMIZERS
from mtl_jax.training.prefetch import is_on_host
from mtl_jax.training.replicas import Replicas, share
from mtl_jax.training.schedules import SCHEDULES
from mtl_jax.training.step import make_replica_step, make_step
from mtl_jax.training.writers import WRITERS, EpochRecord
from mtl_jax.types import InputError, Params

# Fields of config.train that do not change the trained weights.
FIELDS_WITHOUT_EFFECT = ("checkpoint_minutes", "writers", "validation_epochs")


class TrainingRun(NamedTuple):
    """What belongs to one training run alone."""

    folder: Path  # of its history and its checkpoints
    params: Params  # initial, on the host: a device holds the states of its own runs alone
    key: jax.Array  # of its order of ROIs and its dropout
    on_epoch: Callable[[EpochRecord], None] = lambda record: None
    rois: range | None = None  # its training set in the dataset; None: all
    # Adds values every validation_epochs: begins to compute them, and returns how to read them.
    validate: Callable[[Params], Callable[[], EpochRecord]] | None = None
    provenance: Mapping[str, Any] = MappingProxyType({})  # recorded in its checkpoints
    accept_versions: bool = False  # resume checkpoints of other versions
    monitor: Monitor | None = None  # may end the run early


@dataclass(frozen=True)
class Training:
    """What the runs of one call of `fit` have in common."""

    network: Network
    frozen: tuple[str, ...]
    task_weights: Mapping[str, float]  # in the loss, by task
    train: ConfigDict  # config.train
    initialization: str = "he"  # determines how biases are trained
    device_count: int = 1
    cache: Path | None = None  # folder of the frozen-feature cache; None: no cache
    keep: bool = True  # save the state after the last epoch
    replicas: Replicas | None = None

    def sharding(self) -> NamedSharding | None:
        """Return the sharding of a batch; replicas are not sharded."""
        return devices.batch_sharding(1 if self.replicas else self.device_count)

    def place(self, source: BatchSource) -> BatchSource:
        """Return `source` with a copy on each device, made once; on the host it stays there."""
        if is_on_host(source):
            return source
        sharding = self.sharding()
        return devices.replicate(source, sharding) if sharding else share(source, self.replicas)

    def optimizer(self) -> optax.GradientTransformation:
        """Return the optimizer of the layers that are not frozen."""
        return optimizer.make_optimizer(self.train, self.frozen, self.initialization)

    def epoch(self, first: str, on_host: bool) -> Epoch:
        """Return the compiled epoch for a source whose images layer `first` receives."""
        loss = LOSSES[self.train.loss](self.train)
        weights, precision = tuple(self.task_weights.values()), self.train.precision
        minimized = objective.multi_task_objective(self.network, weights, first, loss, precision)
        make = make_replica_step if self.replicas else make_step
        step = make(minimized, self.optimizer())
        return make_epoch(step, self.sharding(), on_host, self.replicas)

    def record(self) -> dict[str, Any]:
        """Return what determines the trained weights, for the metadata of checkpoints."""
        train = {k: v for k, v in self.train.to_dict().items() if k not in FIELDS_WITHOUT_EFFECT}
        return {
            "network": self.network.fields(),
            "initialization": self.initialization,
            "frozen": self.frozen,
            "tasks": dict(self.task_weights),
            "train": train,
        }


def reject_unknown_entries(train: ConfigDict) -> None:
    """Raise InputError for a name of config.train that config.py knows, but no registry."""
    entries = {"loss": LOSSES, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    names = [(field, train[field], registry) for field, registry in entries.items()]
    names += [("writers", name, WRITERS) for name in train.writers]
    for field, name, registry in names:
        if name not in registry:
            raise InputError(
                f"config.train.{field}={name!r} has no entry in mtl_jax/training: add it to the "
                f"dict of {', '.join(registry)}"
            )
