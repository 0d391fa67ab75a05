"""One training from its first or latest saved epoch to its last. Knows nothing of studies."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from mtl_jax import stop, whole
from mtl_jax.models.network import Network
from mtl_jax.nouns import InputError, Params, TrainState
from mtl_jax.training import devices, hosts, transfer
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.epoch import Order, make_epoch
from mtl_jax.training.feed import on_host
from mtl_jax.training.history import cut
from mtl_jax.training.pool import Pool, epoch_order, steps_per_epoch
from mtl_jax.training.prefix import shortcut
from mtl_jax.training.steps import Metrics

OF_NO_EFFECT = ("checkpoint_epochs", "tensorboard")  # on a training's numbers
RISEN = 2.0  # a mean loss above this is far worse than the ln 2 of saying nothing

Report = Callable[[dict[str, float]], None]


def fit(
    folder: Path,
    pool: Pool,
    params: Params,
    network: Network,
    frozen: tuple[str, ...],
    tasks: Sequence[str],
    task_weights: tuple[float, ...],
    recipe: ConfigDict,
    key: jax.Array,
    device_count: int,
    report: Report,
    cache: Path | None = None,
    keep: bool = True,
) -> Params:
    """Trains `params` on `pool` by `recipe` (the config's `train` section) and returns them.

    Writes `folder`/history.jsonl, a line an epoch, and `folder`/checkpoint/, from which a later
    call with the same arguments goes on to the same result, to the bit on the same device. Each
    line of the history is also handed to `report`. With `cache`, what the frozen layers give is
    computed once and kept: in memory, or in that folder where memory is too small. `keep`: the
    last state is saved as well. Asked to stop, it saves the state after the epoch in progress.

    Raises InputError where the loss or the update stops being a number, where a checkpoint is of
    another training, or where the disk does not take what is written.
    """
    with whole.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sharding = devices.batch_sharding(device_count)
    optimizer = transfer.optimizer(frozen, recipe.momentum, recipe.weight_decay)
    state = TrainState(jnp.int32(0), params, optimizer.init(params))
    source, first = shortcut(network, params, pool, frozen, cache) if cache else (pool, "C1")
    if sharding and not on_host(source):
        source = devices.replicate(source, sharding)
    order_key, dropout_key = jax.random.split(key)
    regions, steps = len(pool.label), steps_per_epoch(len(pool.label), recipe.batch_size)
    hosts.same(f"{regions} regions into {first}, {'fed' if on_host(source) else 'on the device'}")

    made_by = {
        "network": _fields(network),
        "frozen": frozen,
        "tasks": dict(zip(tasks, task_weights, strict=True)),
        "regions": regions,
        "key": jax.random.key_data(key).tolist(),
        "train": {k: v for k, v in recipe.items() if k not in OF_NO_EFFECT},
    }
    checkpoints = hosts.Shared(Checkpoints(folder / "checkpoint", made_by))
    begin, state = checkpoints.resume(state)
    # A copy: the step takes the state's memory over, and the caller keeps `params`.
    state = devices.replicate(state, sharding)
    history = cut(folder / "history.jsonl", begin)
    epoch = make_epoch(
        network,
        frozen,
        recipe.momentum,
        recipe.weight_decay,
        task_weights,
        sharding,
        first,
        on_host(source),
    )

    warned = False
    bar = tqdm(
        total=recipe.epochs * steps,
        initial=begin * steps,
        desc=folder.name,
        unit="step",
        dynamic_ncols=True,
        # In a log file a line now and then is enough.
        mininterval=0.1 if sys.stderr.isatty() else 30,
    )
    opened = history.open("a", encoding="utf-8")
    with bar, whole.writing(history), opened as lines, stop.deferred(hosts.agreed) as stopping:
        for done in range(begin, recipe.epochs):
            order = Order(
                *epoch_order(jax.random.fold_in(order_key, done), regions, recipe.batch_size),
                transfer.learning_rate(
                    done * steps + jnp.arange(steps, dtype=jnp.float32),
                    recipe.epochs * steps,
                    recipe.learning_rate,
                    recipe.final_learning_rate,
                ),
            )
            state, metrics = epoch(state, source, order, dropout_key, bar.update)
            line = _summarize(done + 1, metrics, order.rate, tasks)
            finite = np.isfinite(metrics.loss) & np.isfinite(metrics.update_norm)
            if not finite.all():
                step = done * steps + int(np.argmin(finite))
                raise InputError(
                    f"run {folder.name}: the loss is no longer a number at step {step + 1} (epoch "
                    f"{done + 1}); lower config.train.learning_rate ({recipe.learning_rate})"
                )
            if line["loss"] > RISEN and not warned:
                warned = True
                bar.write(
                    f"mtl_jax: note: run {folder.name}: the loss has risen to {line['loss']:.3g} in"
                    f" epoch {done + 1}, worse than chance: config.train.learning_rate"
                    f" ({recipe.learning_rate}) is too high",
                    file=sys.stderr,
                )
            lines.write(json.dumps(line) + "\n")
            lines.flush()
            os.fsync(lines.fileno())  # never behind the checkpoint
            report(line)
            bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)
            last = done + 1 == recipe.epochs
            due = keep if last else (done + 1) % recipe.checkpoint_epochs == 0
            asked = stopping()
            if due or asked:
                checkpoints.save(done + 1, state)
            if asked:
                break
    if keep:
        checkpoints.close(keep=recipe.epochs)
    return devices.here(state.params)


def _summarize(
    epoch: int, metrics: Metrics, rates: jax.Array, tasks: Sequence[str]
) -> dict[str, float]:
    """A line of history.jsonl: means over the epoch's rows, in all and by task."""
    rows = metrics.rows.sum(0)
    line = {
        "epoch": epoch,
        "step": epoch * len(metrics.loss),
        "learning_rate": float(rates[-1]),
        "loss": float(metrics.cross_entropy.sum() / rows.sum()),
        "accuracy": float(metrics.right.sum() / rows.sum()),
        "update_norm": float(np.mean(metrics.update_norm)),
    }
    for i, task in enumerate(tasks):
        line[f"loss/{task}"] = float(metrics.cross_entropy[:, i].sum() / rows[i])
        line[f"accuracy/{task}"] = float(metrics.right[:, i].sum() / rows[i])
    return line


def _fields(network: Network) -> dict[str, Any]:
    """What tells networks apart, without what Flax adds."""
    own = [field.name for field in dataclasses.fields(network)]
    fields = {name: getattr(network, name) for name in own if name not in ("parent", "name")}
    return {"trunk": type(network).__name__, **fields}
