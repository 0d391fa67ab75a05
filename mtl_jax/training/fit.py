"""Trainings from their first or latest saved epoch to their last."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from mtl_jax.io import atomic, signals
from mtl_jax.models.base import Network
from mtl_jax.models.initialization import INITIALIZATIONS
from mtl_jax.training import devices, multihost, optimizer, orientations, software
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.dataset import Dataset, epoch_order, steps_per_epoch
from mtl_jax.training.epoch import EpochOrder, make_epoch
from mtl_jax.training.feature_cache import cached_source
from mtl_jax.training.history import History, Line, Report, summarize
from mtl_jax.training.prefetch import on_host
from mtl_jax.training.replicas import Replicas, stack_replicas, take_replica
from mtl_jax.training.steps import Metrics
from mtl_jax.types import InputError, Params, TrainState

# Fields of config.train that do not change the weights.
FIELDS_WITHOUT_EFFECT = (
    "checkpoint_epochs",
    "tensorboard",
    "validation_epochs",
)
RISEN = 2.0  # a mean loss above this is far worse than the ln 2 of saying nothing


class TrainingRun(NamedTuple):
    """What one training has of its own: its folder, its initial weights, its random numbers, who
    is called with each line of its history, which ROIs of the pool it learns (None: all), and what
    is computed from its weights every `validation_epochs` epochs and recorded, no more (None:
    nothing).

    `provenance` is what its checkpoints record beside the arguments of `fit`; `accept_versions`:
    a checkpoint of other versions is resumed as well."""

    folder: Path
    params: Params
    key: jax.Array
    report: Report
    rois: range | None = None
    validate: Callable[[Params], Line] | None = None
    provenance: Mapping[str, Any] = MappingProxyType({})
    accept_versions: bool = False


def fit(
    trainings: Sequence[TrainingRun],
    pool: Dataset,
    network: Network,
    frozen: tuple[str, ...],
    tasks: Sequence[str],
    task_weights: tuple[float, ...],
    train_config: ConfigDict,
    device_count: int,
    cache: Path | None = None,
    keep: bool = True,
    replicas: Replicas | None = None,
    initialization: str = "he",
) -> list[Params]:
    """Train the weights of each of `trainings` on its ROIs of `pool` by `train_config` (the
    config's `train` section) and returns them.

    There is one training, or there are several that go on in `replicas` together and have the same
    frozen layers; where their ROIs differ in number, so do their steps an epoch. Each writes
    `folder`/history.jsonl, a line an epoch, and `folder`/checkpoint/, from which a later call with
    the same arguments goes on to the same result, to the bit on the same device. With `cache`, what
    the frozen layers give is computed once and kept: in memory, or in that folder where memory is
    too small. `initialization` names the scheme of the weights, which decides how biases learn.
    `keep`: the last state is saved as well. Asked to stop, it saves the state after the epoch in
    progress.

    Raises InputError where the loss or the update stops being a number, where a checkpoint is of
    another training, or where the disk does not take what is written.
    """
    sharding = devices.batch_sharding(1 if replicas else device_count)
    biases = INITIALIZATIONS[initialization]
    sgd = optimizer.SGD(
        train_config.momentum, train_config.weight_decay, biases.bias_rate, biases.decay_biases
    )
    tx = optimizer.make_optimizer(frozen, sgd)
    source, first = (
        cached_source(network, trainings[0].params, pool, frozen, cache) if cache else (pool, "C1")
    )
    if sharding and not on_host(source):
        source = devices.replicate(source, sharding)
    everything = range(len(pool.label))
    multihost.assert_same(
        f"{len(everything)} ROIs into {first}, {'fed' if on_host(source) else 'on the device'}"
    )
    versions = software.versions().items()
    multihost.assert_same(", ".join(f"{name} {number}" for name, number in versions))
    rois = [everything if each.rois is None else each.rois for each in trainings]
    steps = [steps_per_epoch(len(own), train_config.batch_size) for own in rois]
    if len(set(steps)) > 1 and not (replicas and replicas.ragged):
        raise ValueError(f"{steps} steps an epoch, in replicas that are not uneven")

    made_by = {
        "network": _fields(network),
        "initialization": initialization,
        "frozen": frozen,
        "tasks": dict(zip(tasks, task_weights, strict=True)),
        "train": {k: v for k, v in train_config.items() if k not in FIELDS_WITHOUT_EFFECT},
    }
    checkpoints, states = [], []
    for each, own in zip(trainings, rois, strict=True):
        if multihost.is_primary():
            with atomic.report_write_errors(each.folder):
                each.folder.mkdir(parents=True, exist_ok=True)
        key = jax.random.key_data(each.key).tolist()
        card = {**each.provenance, **made_by, "rois": len(own), "key": key}
        checkpoints.append(Checkpoints(each.folder / "checkpoint", card, each.accept_versions))
        states.append(TrainState(jnp.int32(0), each.params, tx.init(each.params)))
    begin, states = _resume(checkpoints, states)

    join, part = (
        partial(stack_replicas, replicas=replicas),
        partial(take_replica, replicas=replicas),
    )
    # A copy: the step takes the state's memory over, and the caller keeps the weights.
    state = join(states) if replicas else devices.replicate(states[0], sharding)
    del states
    order_keys, dropout_keys = zip(*(jax.random.split(each.key) for each in trainings), strict=True)
    dropout_key = join(dropout_keys)
    epoch = make_epoch(
        network,
        frozen,
        sgd,
        task_weights,
        sharding,
        first,
        on_host(source),
        train_config.precision,
        replicas,
    )

    risen = False
    name = trainings[0].folder.name
    bar = tqdm(
        total=train_config.epochs * max(steps),
        initial=begin * max(steps),
        desc=name if len(trainings) == 1 else f"{name} and {len(trainings) - 1} more",
        unit="step",
        dynamic_ncols=True,
        # In a log file a line now and then is enough.
        mininterval=0.1 if sys.stderr.isatty() else 30,
    )
    histories = [
        History(
            each.folder / "history.jsonl" if multihost.is_primary() else None, begin, each.report
        )
        for each in trainings
    ]
    with bar, signals.defer(multihost.agreed_signal) as stopping:
        for done in range(begin, train_config.epochs):
            orders = [
                _order(jax.random.fold_in(key, done), own, done, train_config, max(steps))
                for key, own in zip(order_keys, rois, strict=True)
            ]
            state, metrics = epoch(state, source, join(orders), dropout_key, bar.update)
            for number, (history, count) in enumerate(zip(histories, steps, strict=True)):
                own = jax.tree.map(lambda m, n=count: m[:n], part(metrics, number=number))
                run = trainings[number].folder.name
                _reject_no_number(own, run, done * count, done + 1, train_config.learning_rate)
                line = summarize(done + 1, own, orders[number].rate[:count], tasks)
                validate = trainings[number].validate
                if validate and _validation_due(done + 1, train_config):
                    line |= validate(devices.local_arrays(part(state.params, number=number)))
                if line["loss"] > RISEN and not risen:
                    risen = True
                    bar.write(
                        f"mtl_jax: note: run {run}: the loss has risen to {line['loss']:.3g} in"
                        f" epoch {done + 1}, worse than chance: config.train.learning_rate"
                        f" ({train_config.learning_rate}) is too high",
                        file=sys.stderr,
                    )
                history.write(line)
            bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)
            last = done + 1 == train_config.epochs
            due = keep if last else (done + 1) % train_config.checkpoint_epochs == 0
            asked = stopping()
            if due or asked:
                for number, place in enumerate(checkpoints):
                    place.save(done + 1, part(state, number=number))
            if asked:
                break
    if keep:
        for place in checkpoints:
            place.close(keep=train_config.epochs)
    return [
        devices.local_arrays(part(state.params, number=number)) for number in range(len(trainings))
    ]


def _order(
    key: jax.Array, rois: range, done: int, train_config: ConfigDict, most: int
) -> EpochOrder:
    """Return the next epoch of a training of `rois` after `done`, and then empty batches, if any,
    up to `most` steps."""
    steps = steps_per_epoch(len(rois), train_config.batch_size)
    indices, weight = epoch_order(key, len(rois), train_config.batch_size)
    indices += orientations.COUNT * rois.start
    rates = optimizer.learning_rate(
        done * steps + jnp.arange(steps, dtype=jnp.float32),
        train_config.epochs * steps,
        train_config.learning_rate,
        train_config.final_learning_rate,
    )
    order = EpochOrder(indices, weight, np.asarray(rates))
    if steps == most:
        return order

    empty = (0, most - steps)
    return EpochOrder(*(np.pad(c, (empty, *[(0, 0)] * (c.ndim - 1))) for c in order))


def _validation_due(epoch: int, train_config: ConfigDict) -> bool:
    interval = train_config.validation_epochs
    return interval > 0 and (epoch % interval == 0 or epoch == train_config.epochs)


def _resume(
    checkpoints: Sequence[Checkpoints], states: Sequence[TrainState]
) -> tuple[int, list[TrainState]]:
    """Return the newest epoch that all have a checkpoint of, and their states after it; `states`
    where there is none. A kill between two saves leaves trainings an epoch apart, of the latest
    two."""
    most = None
    while True:
        found = [c.resume(state, most) for c, state in zip(checkpoints, states, strict=True)]
        numbers = [epoch for epoch, _ in found]
        if len(set(numbers)) == 1:
            return numbers[0], [state for _, state in found]
        most = min(numbers)


def _reject_no_number(metrics: Metrics, run: str, before: int, epoch: int, rate: float) -> None:
    finite = np.isfinite(metrics.loss) & np.isfinite(metrics.update_norm)
    if not finite.all():
        step = before + int(np.argmin(finite)) + 1
        raise InputError(
            f"run {run}: the loss is no longer a number at step {step} (epoch {epoch}); lower "
            f"config.train.learning_rate ({rate})"
        )


def _fields(network: Network) -> dict[str, Any]:
    """Return what tells networks apart, without what Flax adds."""
    own = [field.name for field in dataclasses.fields(network)]
    fields = {name: getattr(network, name) for name in own if name not in ("parent", "name")}
    return {"backbone": type(network).__name__, **fields}
