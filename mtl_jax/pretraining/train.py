"""One training of the source task, from its start or latest checkpoint to weights with a card."""

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
from tqdm import tqdm

from mtl_jax import weights
from mtl_jax.io import workdir
from mtl_jax.pretraining import network, steps
from mtl_jax.pretraining.image_sources import open_task
from mtl_jax.pretraining.task import Examples, Task
from mtl_jax.training import devices
from mtl_jax.training.checkpoint import VERSIONS_BEFORE, Checkpoints, versions_before
from mtl_jax.training.history import History
from mtl_jax.types import InputError, Params, TrainState


def pretrain(c: ConfigDict, folder: Path) -> str:
    """Train by `c` in `folder` and returns what to tell: accuracies, and where the weights are.

    Leaves config.json, environment.json, history.jsonl, checkpoint/ and weights/, which
    `--config.weights` takes. Called again, it goes on from the last checkpoint to the same bytes
    of weights.
    """
    with workdir.lock(folder):
        workdir.claim(folder, c.to_dict())
        used = [d.device_kind for d in jax.devices()[: c.devices]]
        workdir.record_environment(folder, used)
        if not (folder / "weights" / "card.json").exists():
            print(describe(c), flush=True)
            _train(c, folder, used)
    line = json.loads((folder / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return (
        f"held-out images: top-1 {line['held_out_top1']:.1%}, top-5 {line['held_out_top5']:.1%}, "
        f"after {line['images']:,} images\nweights: {folder / 'weights'}"
    )


def describe(c: ConfigDict) -> str:
    """Return what a training by `c` learns, and how much of it."""
    task = open_task(c.pretraining, jax.random.key(c.seed), c.train.batch_size, c.data.workers)
    return (
        f"{task.name}: {task.classes} classes, {c.train.epochs} epochs of {task.images:,} images "
        f"in {task.steps:,} steps"
    )


def _train(c: ConfigDict, folder: Path, used: list[str]) -> None:
    s, t = c.pretraining, c.train
    task_key, init_key, dropout_key = jax.random.split(jax.random.key(c.seed), 3)
    task = open_task(s, task_key, t.batch_size, c.data.workers)
    form = partial(
        network.Form,
        channels=task.channels,
        classes=task.classes,
        head=s.head,
        initialization=s.initialization,
        standardized=s.weight_standardization,
        half=t.precision == "bfloat16",
    )
    last_form = form(s.size)
    rules = s.optimizer, t.momentum, t.weight_decay
    params = network.init(last_form, init_key)
    sharding = devices.batch_sharding(c.devices)
    state = TrainState(jnp.int32(0), params, steps.optimizer(*rules).init(params))

    made_by = {"pretraining": s.to_dict(), "train": t.to_dict(), "seed": c.seed}
    checkpoints = Checkpoints(folder / "checkpoint", made_by, c.accept_versions)
    begin, state = checkpoints.resume(state)
    state = devices.replicate(state, sharding)
    history = History(folder / "history.jsonl", begin)
    total = t.epochs * task.steps
    bar = tqdm(
        total=total,
        initial=begin * task.steps,
        desc="source task",
        unit="step",
        dynamic_ncols=True,
        mininterval=0.1 if sys.stderr.isatty() else 30,
    )
    with bar:
        for epoch in range(begin, t.epochs):
            size = s.small_size if epoch < s.small_epochs else s.size
            step = steps.make_step(form(size), *rules, c.model.dropout)
            rate = steps.learning_rate(
                (epoch * task.steps + jnp.arange(task.steps)) / total,
                t.learning_rate,
                t.final_learning_rate,
                s.schedule,
                s.warmup,
            )
            seen = []
            for number, examples in enumerate(task.epoch(epoch, size)):
                state, sums = step(state, _placed(examples, sharding), dropout_key, rate[number])
                seen.append(sums)
                if number % 16 == 15:  # let the device run ahead, but not without end
                    jax.block_until_ready(sums)
                bar.update()
            held_out = [_scored(form(size), state.params, e) for e in task.held_out(size)]
            line = {
                "epoch": epoch + 1,
                "step": (epoch + 1) * task.steps,
                "images": (epoch + 1) * task.images,
                "size": size,
                "learning_rate": float(rate[-1]),
                **_means(seen),
                **{f"held_out_{name}": value for name, value in _means(held_out).items()},
            }
            if not np.isfinite([line["loss"], line["held_out_loss"]]).all():
                raise InputError(
                    f"{folder}: the loss is no longer a number in epoch {epoch + 1}; lower "
                    f"config.train.learning_rate ({t.learning_rate})"
                )
            history.write(line)
            bar.set_postfix(loss=f"{line['loss']:.3f}", top1=f"{line['held_out_top1']:.3f}")
            if (epoch + 1) % t.checkpoint_epochs == 0 or epoch + 1 == t.epochs:
                checkpoints.save(epoch + 1, state)
    checkpoints.close(keep=t.epochs)
    params = jax.tree.map(np.asarray, network.convolutions(last_form, state.params))
    line = json.loads((folder / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    described = _described(params, task, line, c, used)
    described.metadata["training"][VERSIONS_BEFORE] = versions_before(folder / "checkpoint")
    weights.save(described, folder / "weights", half=True)


def _described(
    params: Params, task: Task, line: dict[str, Any], c: ConfigDict, used: list[str]
) -> weights.Weights:
    """Return the convolutions and their card, with all that it takes to make them again."""
    rounded = weights.round_to_half(params)
    card = weights.make_metadata(
        rounded,
        backbone="alexnet",
        name=c.pretraining.images.partition(":")[0],  # a path names this machine
        source="trained by configs/pretrain.py",
        sha256="",
        file_format="mtl_jax",
        input_stats=task.input_stats,
        lrn=False,
        note=f"Trained on {task.name}.",
    )
    training = {
        "task": f"{task.classes} classes of {task.name}",
        "images": line["images"],
        "held_out_top1": line["held_out_top1"],
        "held_out_top5": line["held_out_top5"],
        "command": shlex.join(["python", "-m", "mtl_jax.main", *sys.argv[1:]]),
        "seed": c.seed,
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{len(used)} x {used[0]}",
    }
    return weights.Weights(rounded, card | {"training": training})


@partial(jax.jit, static_argnums=0)
def _scored(form: network.Form, params: Params, examples: Examples) -> steps.Sums:
    return steps.count(network.logits(form, params, examples.image), examples)


def _placed(examples: Examples, sharding: Any) -> Examples:
    return examples if sharding is None else jax.device_put(examples, sharding)


def _means(sums: Iterable[steps.Sums]) -> dict[str, float]:
    total = np.sum(jax.device_get(list(sums)), axis=0, dtype=np.float64)
    loss, top1, top5, count = total.tolist()
    return {"loss": loss / count, "top1": top1 / count, "top5": top5 / count}
