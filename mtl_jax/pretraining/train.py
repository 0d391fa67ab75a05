"""Pretrain AlexNet on an image task and write its convolutions to a folder of weights."""

import json
import shlex
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mtl_jax import weights
from mtl_jax.io import workdir
from mtl_jax.pretraining import network, steps
from mtl_jax.pretraining.image_sources import open_task
from mtl_jax.pretraining.task import Examples, Task
from mtl_jax.training import devices
from mtl_jax.training.checkpoint import VERSIONS_BEFORE, Checkpoints, versions_before
from mtl_jax.training.history import History, progress_bar
from mtl_jax.types import InputError, Params, TrainState

SYNC_STEPS = 16  # the host waits for the device after so many steps


def pretrain(c: ConfigDict, folder: Path) -> str:
    """Pretrain in the work folder and return a summary with the accuracies.

    The folder then has config.json, environment.json, history.jsonl, checkpoint/, and weights/ for
    `--config.weights`. An interrupted training resumes from its last checkpoint; the weights are
    bit-identical.
    """
    with workdir.lock(folder):
        workdir.claim(folder, c.to_dict())
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
    s, t = c.pretraining, c.train
    task_key, init_key, dropout_key = jax.random.split(jax.random.key(c.seed), 3)
    task = open_task(s, task_key, t.batch_size, c.data.workers)
    network_config = partial(
        network.NetworkConfig,
        channels=task.channels,
        classes=task.classes,
        head=s.head,
        initialization=s.initialization,
        weight_standardization=s.weight_standardization,
        bfloat16=t.precision == "bfloat16",
    )
    final_config = network_config(s.size)
    optimizer_settings = s.optimizer, t.momentum, t.weight_decay
    params = network.init(final_config, init_key)
    sharding = devices.batch_sharding(c.devices)
    opt_state = steps.make_optimizer(*optimizer_settings).init(params)
    state = TrainState(jnp.int32(0), params, opt_state)

    made_by = {"pretraining": s.to_dict(), "train": t.to_dict(), "seed": c.seed}
    checkpoints = Checkpoints(folder / "checkpoint", made_by, c.accept_versions)
    first_epoch, state = checkpoints.resume(state)
    state = devices.replicate(state, sharding)
    history = History(folder / "history.jsonl", first_epoch)
    with progress_bar("pretraining", first_epoch * task.steps, t.epochs * task.steps) as bar:
        for epoch in range(first_epoch, t.epochs):
            size = s.small_size if epoch < s.small_epochs else s.size
            config = network_config(size)
            step = steps.make_step(config, *optimizer_settings, c.model.dropout)
            rates = _learning_rates(c, epoch, task.steps)
            train_sums = []
            for number, examples in enumerate(task.train_batches(epoch, size)):
                batch = examples if sharding is None else jax.device_put(examples, sharding)
                state, sums = step(state, batch, dropout_key, rates[number])
                train_sums.append(sums)
                if number % SYNC_STEPS == SYNC_STEPS - 1:
                    jax.block_until_ready(sums)
                bar.update()
            validation_sums = [
                _evaluate(config, state.params, e) for e in task.validation_batches(size)
            ]
            line = {
                "epoch": epoch + 1,
                "step": (epoch + 1) * task.steps,
                "images": (epoch + 1) * task.images,
                "size": size,
                "learning_rate": float(rates[-1]),
                **_means(train_sums),
                **{f"held_out_{name}": value for name, value in _means(validation_sums).items()},
            }
            if not np.isfinite([line["loss"], line["held_out_loss"]]).all():
                raise InputError(
                    f"{folder}: the loss is NaN or infinite in epoch {epoch + 1}; lower "
                    f"config.train.learning_rate ({t.learning_rate})"
                )
            history.write(line)
            bar.set_postfix(loss=f"{line['loss']:.3f}", top1=f"{line['held_out_top1']:.3f}")
            if (epoch + 1) % t.checkpoint_epochs == 0 or epoch + 1 == t.epochs:
                checkpoints.save(epoch + 1, state)
    checkpoints.close(keep=t.epochs)
    convolutions = network.export_convolutions(final_config, state.params)
    params = jax.tree.map(np.asarray, convolutions)
    trained = _make_weights(params, task, _last_line(folder), c, device_kinds)
    trained.metadata["training"][VERSIONS_BEFORE] = versions_before(folder / "checkpoint")
    weights.save(trained, folder / "weights", half=True)


def _learning_rates(c: ConfigDict, epoch: int, epoch_steps: int) -> jax.Array:
    """Return the learning rate of each step of an epoch."""
    s, t = c.pretraining, c.train
    progress = (epoch * epoch_steps + jnp.arange(epoch_steps)) / (t.epochs * epoch_steps)
    return steps.learning_rate(
        progress, t.learning_rate, t.final_learning_rate, s.schedule, s.warmup
    )


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
def _evaluate(
    config: network.NetworkConfig, params: Params, examples: Examples
) -> steps.MetricSums:
    return steps.sum_metrics(network.logits(config, params, examples.image), examples)


def _means(sums: Iterable[steps.MetricSums]) -> dict[str, float]:
    total = np.sum(jax.device_get(list(sums)), axis=0, dtype=np.float64)
    loss, top1, top5, count = total.tolist()
    return {"loss": loss / count, "top1": top1 / count, "top5": top5 / count}
