"""The multi-task objective of fine-tuning, its metrics, and the probability of malignancy."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.models.base import Network
from mtl_jax.models.precision import compute_dtype
from mtl_jax.training.losses import Loss, cross_entropy
from mtl_jax.training.step import Metrics, Objective
from mtl_jax.training.writers import EpochRecord
from mtl_jax.types import Batch, Params


def head_logits(logits: jax.Array, task: jax.Array) -> jax.Array:
    """Return the two logits (n, 2) of each row's task, from (n, 2) or (n, 2 tasks)."""
    heads = logits.reshape(logits.shape[0], -1, 2)
    if heads.shape[1] == 1:
        return heads[:, 0]
    # By a mask: the gradient of a gather is a scatter-add, which GPUs do atomically.
    selected = task[:, None, None] == jnp.arange(heads.shape[1])[:, None]
    return jnp.where(selected, heads, 0).sum(1)


def malignancy_probability(logits: jax.Array, task: jax.Array) -> jax.Array:
    """Return the probability of malignancy (n,): the softmax of the logits of each row's task."""
    return jax.nn.softmax(head_logits(logits, task))[:, 1]


@functools.cache
def multi_task_objective(
    network: Network,
    task_weights: tuple[float, ...],
    first: str = "C1",
    loss: Loss = cross_entropy,
    precision: str = "float32",
) -> Objective:
    """Return the objective: the mean loss of the batch's rows, weighted by task.

    Layer `first` receives the batch's images: C1, or the one after the frozen layers if they are
    activations. `precision` is that of the layers' computation, as in config.train. The sums for t
    tasks, (t,) each, are cross_entropy, correct (predictions) and rows.
    """
    dtype = compute_dtype(precision)
    weights = jnp.asarray(task_weights, jnp.float32)

    def objective(params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        logits = network.apply(
            {"params": jax.tree.map(lambda p: p.astype(dtype), params)},
            batch.image.astype(dtype),
            first,
            train=True,
            precision=precision,
            rngs={"dropout": key},
        )
        logits = head_logits(logits.astype(jnp.float32), batch.task)
        weight = batch.weight * weights[batch.task]
        mean = (weight * loss(logits, batch.label)).sum() / jnp.maximum(weight.sum(), 1e-12)
        rows = batch.weight[:, None] * jax.nn.one_hot(batch.task, len(weights))
        correct = logits.argmax(-1) == batch.label
        return mean, {
            "cross_entropy": (rows * cross_entropy(logits, batch.label)[:, None]).sum(0),
            "correct": (rows * correct[:, None]).sum(0),
            "rows": rows.sum(0),
        }

    return objective


def summarize(
    epoch: int, metrics: Metrics, rates: Sequence[float], tasks: Sequence[str]
) -> EpochRecord:
    """Return the record of an epoch: means over its rows, for all tasks and for each task.

    `metrics` are those of its steps, with an axis of steps in front. `loss` is the mean
    cross-entropy, whatever loss is minimized.
    """
    rows = metrics["rows"].sum(0)
    record = {
        "epoch": epoch,
        "step": epoch * len(metrics["loss"]),
        "learning_rate": float(rates[-1]),
        "loss": float(metrics["cross_entropy"].sum() / rows.sum()),
        "accuracy": float(metrics["correct"].sum() / rows.sum()),
        "update_norm": float(np.mean(metrics["update_norm"])),
    }
    for i, task in enumerate(tasks):
        record[f"loss/{task}"] = float(metrics["cross_entropy"][:, i].sum() / rows[i])
        record[f"accuracy/{task}"] = float(metrics["correct"][:, i].sum() / rows[i])
    return record
