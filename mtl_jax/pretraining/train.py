"""Pretrain AlexNet on an image task and write its convolutions to a folder of weights."""

import functools
import json
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from mtl_jax import weights
from mtl_jax.config import default
from mtl_jax.io import workdir
from mtl_jax.models.precision import FLOAT32
from mtl_jax.pretraining import network
from mtl_jax.pretraining.image_sources import open_task
from mtl_jax.pretraining.objective import classification_objective, sum_metrics
from mtl_jax.pretraining.task import Examples, Task
from mtl_jax.training import devices, optimizer
from mtl_jax.training.checkpoint import VERSIONS_BEFORE, Checkpoints, versions_before
from mtl_jax.training.loop import (
    Loop,
    LoopRun,
    ProgressCallback,
    ReadRecords,
    resume,
    run_epochs,
)
from mtl_jax.training.schedules import learning_rates
from mtl_jax.training.setup import FIELDS_WITHOUT_EFFECT, reject_unknown_entries
from mtl_jax.training.step import Metrics, Step, make_step
from mtl_jax.training.writers import EpochRecord
from mtl_jax.types import InputError, Params, TrainState

SYNC_STEPS = 16  # the host waits for the device after so many steps


def pretrain(c: ConfigDict, folder: Path) -> str:
    """Pretrain in the work folder and return a summary with the accuracies.

    The folder then has config.json, environment.json, history.jsonl, checkpoint/, and weights/ for
    `--config.weights`. An interrupted training resumes from its last checkpoint; the weights are
    bit-identical on CPUs, and on GPUs with config.deterministic, otherwise equal within rounding.
    """
    reject_unknown_entries(c.train)
    with workdir.lock(folder):
        workdir.claim(folder, c.to_dict(), default().to_dict())
        device_kinds = [d.device_kind for d in jax.devices()[: c.devices]]
        workdir.record_environment(folder, device_kinds)
        if not (folder / "weights" / "card.json").exists():
            print(describe(c), flush=True)
            _train(c, folder, device_kinds)
    metrics = _last_line(folder)
    return (
        f"validation images: top-1 {metrics['held_out_top1']:.1%}, "
        f"top-5 {metrics['held_out_top5']:.1%}, after {metrics['images']:,} training images\n"
        f"weights: {folder / 'weights'}"
    )


def describe(c: ConfigDict) -> str:
    """Return a line with the task, classes, epochs and steps of a pretraining."""
    task = open_task(c.pretraining, jax.random.key(c.seed), c.train.batch_size, c.data.workers)
    return (
        f"{task.name}: {task.classes} classes, {c.train.epochs} epochs of {task.images:,} images "
        f"in {task.steps:,} steps"
    )


def _train(c: ConfigDict, folder: Path, device_kinds: list[str]) -> None:
    """Train the network, and write its convolutions to weights/."""
    task_key, init_key, dropout_key = jax.random.split(jax.random.key(c.seed), 3)
    task = open_task(c.pretraining, task_key, c.train.batch_size, c.data.workers)
    final_config = _network_config(c, task, c.pretraining.size)
    params = network.init(final_config, init_key)
    sharding = devices.batch_sharding(c.devices)
    tx = optimizer.make_optimizer(c.train, ())
    state = TrainState(jnp.int32(0), params, tx.init(params))

    made_by = {
        "pretraining": c.pretraining.to_dict(),
        "train": {k: v for k, v in c.train.to_dict().items() if k not in FIELDS_WITHOUT_EFFECT},
        "seed": c.seed,
    }
    checkpoints = Checkpoints(folder / "checkpoint", made_by, c.accept_versions)
    run = LoopRun(folder, checkpoints)
    begin, (state,) = resume([run], [state])
    loop = Loop(
        [run],
        _PretrainingEpoch(c, folder, task, tx, dropout_key, sharding),
        steps=task.steps,
        epochs=c.train.epochs,
        checkpoint_minutes=c.train.checkpoint_minutes,
        writers=c.train.writers,
    )
    state = run_epochs(loop, devices.replicate(state, sharding), begin)
    convolutions = network.export_convolutions(final_config, state.params)
    params = jax.tree.map(np.asarray, convolutions)
    trained = _make_weights(params, task, _last_line(folder), c, device_kinds)
    trained.metadata["training"][VERSIONS_BEFORE] = versions_before(folder / "checkpoint")
    weights.save(trained, folder / "weights", half=True)


def _network_config(c: ConfigDict, task: Task, size: int) -> network.NetworkConfig:
    """Return the architecture for images of `size` pixels."""
    s = c.pretraining
    return network.NetworkConfig(
        size,
        task.channels,
        task.classes,
        s.head,
        s.initialization,
        s.weight_standardization,
        c.train.precision,
    )


@dataclass(frozen=True)
class _PretrainingEpoch:
    """One epoch, as the loop calls it."""

    c: ConfigDict
    folder: Path
    task: Task
    tx: optax.GradientTransformation
    dropout_key: jax.Array
    sharding: NamedSharding | None

    def __call__(
        self, state: TrainState, done: int, progress: ProgressCallback
    ) -> tuple[TrainState, ReadRecords]:
        """Return the state after the epoch after `done` epochs, and its record."""
        s, t, task = self.c.pretraining, self.c.train, self.task
        size = s.small_size if done < s.small_epochs else s.size
        config = _network_config(self.c, task, size)
        step = _compile_step(config, self.c.model.dropout, self.tx)
        steps = done * task.steps + np.arange(task.steps)
        rates = learning_rates(t, steps, t.epochs * task.steps)
        train_sums = []
        for number, examples in enumerate(task.train_batches(done, size)):
            batch = examples if self.sharding is None else jax.device_put(examples, self.sharding)
            state, sums = step(state, batch, self.dropout_key, rates[number])
            train_sums.append(sums)
            if number % SYNC_STEPS == SYNC_STEPS - 1:
                jax.block_until_ready(sums)
            progress(1)
        held_out = [_evaluate(config, state.params, e) for e in task.validation_batches(size)]
        record = {
            "epoch": done + 1,
            "step": (done + 1) * task.steps,
            "images": (done + 1) * task.images,
            "size": size,
            "learning_rate": float(rates[-1]),
            **_means(train_sums),
            **{f"held_out_{name}": value for name, value in _means(held_out).items()},
        }
        if not np.isfinite([record["loss"], record["held_out_loss"]]).all():
            raise InputError(
                f"{self.folder}: the loss is NaN or infinite in epoch {done + 1}; lower "
                f"config.train.learning_rate ({t.learning_rate})"
            )
        return state, lambda: [record]


@functools.cache
def _compile_step(
    config: network.NetworkConfig, dropout: float, tx: optax.GradientTransformation
) -> Step:
    """Return the compiled step, once for equal arguments; its state is donated."""
    return jax.jit(make_step(classification_objective(config, dropout), tx), donate_argnums=0)


def _last_line(folder: Path) -> dict[str, Any]:
    """Return the metrics of the last epoch."""
    return json.loads((folder / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])


def _make_weights(
    params: Params, task: Task, metrics: dict[str, Any], c: ConfigDict, device_kinds: list[str]
) -> weights.Weights:
    """Return the convolutions in half precision, with the metadata needed to reproduce them."""
    rounded = weights.round_to_half(params)
    metadata = weights.make_metadata(
        rounded,
        backbone="alexnet",
        name=c.pretraining.images.partition(":")[0],  # without the path, which names this machine
        source="trained by configs/pretrain.py",
        file_format="mtl_jax",
        input_stats=task.input_stats,
        note=f"Trained on {task.name}.",
    )
    training = {
        "task": f"{task.classes} classes of {task.name}",
        "images": metrics["images"],
        "held_out_top1": metrics["held_out_top1"],
        "held_out_top5": metrics["held_out_top5"],
        "command": shlex.join(["python", "-m", "mtl_jax.main", *sys.argv[1:]]),
        "seed": c.seed,
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{len(device_kinds)} x {device_kinds[0]}",
    }
    return weights.Weights(rounded, metadata | {"training": training})


@partial(jax.jit, static_argnums=0)
def _evaluate(config: network.NetworkConfig, params: Params, examples: Examples) -> Metrics:
    config = config._replace(precision=FLOAT32)
    return sum_metrics(network.logits(config, params, examples.image), examples)


def _means(sums: Iterable[Metrics]) -> EpochRecord:
    """Return the means over the images of these batches."""
    batches = jax.device_get(list(sums))
    totals = {
        name: float(np.sum([batch[name] for batch in batches], dtype=np.float64))
        for name in ("cross_entropy", "top1", "top5", "count")
    }
    count = totals.pop("count")
    names = {"cross_entropy": "loss"}
    return {names.get(name, name): total / count for name, total in totals.items()}
