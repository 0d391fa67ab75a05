"""One training from its first or latest saved epoch to its last. Knows nothing of studies."""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from ml_collections import ConfigDict
from tqdm import tqdm

from mtl_jax.models.alexnet import AlexNet
from mtl_jax.nouns import Batch, InputError, Params, TrainState
from mtl_jax.training import devices, transfer
from mtl_jax.training.checkpoint import Checkpoints
from mtl_jax.training.pool import Pool, draw, epoch_order, steps_per_epoch
from mtl_jax.training.steps import Metrics, Step, make_train_step

Report = Callable[[dict[str, float]], None]


def fit(
    folder: Path,
    pool: Pool,
    params: Params,
    network: AlexNet,
    frozen: tuple[str, ...],
    tasks: Sequence[str],
    task_weights: tuple[float, ...],
    recipe: ConfigDict,
    key: jax.Array,
    device_count: int,
    report: Report,
) -> Params:
    """Trains `params` on `pool` by `recipe` (the config's `train` section) and returns them.

    Writes `folder`/history.jsonl, a line an epoch, and `folder`/checkpoint/, from which a later
    call with the same arguments goes on to the same result, to the bit on the same device. Each
    line of the history is also handed to `report`.

    Raises InputError where the loss stops being a number.
    """
    sharding = devices.batch_sharding(device_count)
    optimizer = transfer.optimizer(frozen, recipe.momentum, recipe.weight_decay)
    # A fresh copy: the step takes the state's memory over, and the caller keeps `params`.
    params = devices.replicate(params, sharding)
    state = TrainState(jnp.int32(0), params, optimizer.init(params))
    state = devices.replicate(state, sharding)
    pool = devices.replicate(pool, sharding)
    order_key, dropout_key = jax.random.split(key)
    regions, steps = len(pool.label), steps_per_epoch(len(pool.label), recipe.batch_size)

    checkpoints = Checkpoints(folder / "checkpoint")
    begin = checkpoints.latest() or 0
    if begin:
        state = checkpoints.restore(begin, state)
    history = _cut_history(folder / "history.jsonl", begin)
    run_epoch = _epoch_runner(
        network, frozen, recipe.momentum, recipe.weight_decay, task_weights, sharding
    )

    bar = tqdm(
        total=recipe.epochs * steps,
        initial=begin * steps,
        desc=folder.name,
        unit="step",
        dynamic_ncols=True,
        # In a log file a line now and then is enough.
        mininterval=0.1 if sys.stderr.isatty() else 30,
    )
    with bar, history.open("a", encoding="utf-8") as lines:
        for epoch in range(begin, recipe.epochs):
            picks, weight = epoch_order(
                jax.random.fold_in(order_key, epoch), regions, recipe.batch_size
            )
            rates = transfer.learning_rate(
                epoch * steps + jnp.arange(steps, dtype=jnp.float32),
                recipe.epochs * steps,
                recipe.learning_rate,
                recipe.final_learning_rate,
            )
            state, metrics = run_epoch(state, pool, picks, weight, dropout_key, rates, bar.update)
            line = _summarize(epoch, metrics, rates, tasks)
            if not np.isfinite(metrics.loss).all():
                step = epoch * steps + int(np.argmin(np.isfinite(metrics.loss)))
                raise InputError(
                    f"run {folder.name}: the loss is no longer a number at step {step + 1} (epoch "
                    f"{epoch + 1}); lower config.train.learning_rate ({recipe.learning_rate})"
                )
            lines.write(json.dumps(line) + "\n")
            lines.flush()
            report(line)
            bar.set_postfix(loss=f"{line['loss']:.4f}", refresh=False)
            if (epoch + 1) % recipe.checkpoint_epochs == 0 or epoch + 1 == recipe.epochs:
                checkpoints.save(epoch + 1, state)
    checkpoints.close(keep=recipe.epochs)
    return state.params


@functools.cache
def _epoch_runner(
    network: AlexNet,
    frozen: tuple[str, ...],
    momentum: float,
    weight_decay: float,
    task_weights: tuple[float, ...],
    sharding: NamedSharding | None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """`run(state, pool, picks, weight, key, rates, tick)`, compiled once for all runs alike."""
    step = make_train_step(
        network, transfer.optimizer(frozen, momentum, weight_decay), task_weights
    )

    def place(batch: Batch) -> Batch:
        return batch if sharding is None else jax.lax.with_sharding_constraint(batch, sharding)

    if jax.default_backend() == "cpu":
        return _stepwise(step, place)
    return _scanned(step, place)


def _scanned(step: Step, place: Callable[[Batch], Batch]) -> Callable[..., Any]:
    """The whole epoch in one compiled loop, with nothing to wait for on the host."""

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(
        state: TrainState,
        pool: Pool,
        picks: jax.Array,
        weight: jax.Array,
        key: jax.Array,
        rates: jax.Array,
    ) -> tuple[TrainState, Metrics]:
        def body(
            state: TrainState, at: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[TrainState, Metrics]:
            picks, weight, rate = at
            return step(state, place(draw(pool, picks, weight)), key, rate)

        return jax.lax.scan(body, state, (picks, weight, rates))

    def run(
        state: TrainState,
        pool: Pool,
        picks: jax.Array,
        weight: jax.Array,
        key: jax.Array,
        rates: jax.Array,
        tick: Callable[[int], None],
    ) -> tuple[TrainState, Metrics]:
        state, metrics = epoch(state, pool, picks, weight, key, rates)
        metrics = jax.device_get(metrics)
        tick(len(metrics.loss))
        return state, metrics

    return run


def _stepwise(step: Step, place: Callable[[Batch], Batch]) -> Callable[..., Any]:
    """One compiled call a step, for CPUs.

    XLA rearranges a convolution's backward pass for the CPU's fast kernel only outside of loops:
    inside `lax.scan` a C1 step was 30 times slower (24.7 s against 0.86 s, jax 0.10.2, 2 cores).
    """
    compiled_draw = jax.jit(lambda *a: place(draw(*a)))
    compiled_step = jax.jit(step, donate_argnums=0)

    def run(
        state: TrainState,
        pool: Pool,
        picks: jax.Array,
        weight: jax.Array,
        key: jax.Array,
        rates: jax.Array,
        tick: Callable[[int], None],
    ) -> tuple[TrainState, Metrics]:
        rows = []
        for i in range(len(picks)):
            batch = compiled_draw(pool, picks[i], weight[i])
            state, metrics = compiled_step(state, batch, key, rates[i])
            # Waiting here keeps the bar honest, and several CPU devices from running into each
            # other's rendezvous.
            rows.append(jax.device_get(metrics))
            tick(1)
        return state, jax.tree.map(lambda *r: np.stack(r), *rows)

    return run


def _summarize(
    epoch: int, metrics: Metrics, rates: jax.Array, tasks: Sequence[str]
) -> dict[str, float]:
    """A line of history.jsonl: means over the epoch's rows, in all and by task."""
    rows = metrics.rows.sum(0)
    line = {
        "epoch": epoch + 1,
        "step": (epoch + 1) * len(metrics.loss),
        "learning_rate": float(rates[-1]),
        "loss": float(metrics.cross_entropy.sum() / rows.sum()),
        "accuracy": float(metrics.right.sum() / rows.sum()),
        "update_norm": float(np.mean(metrics.update_norm)),
    }
    for i, task in enumerate(tasks):
        line[f"loss/{task}"] = float(metrics.cross_entropy[:, i].sum() / rows[i])
        line[f"accuracy/{task}"] = float(metrics.right[:, i].sum() / rows[i])
    return line


def _cut_history(path: Path, epochs: int) -> Path:
    """Drops what an interrupted run wrote after its last checkpoint."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    path.write_text("".join(lines[:epochs]), encoding="utf-8")
    return path
