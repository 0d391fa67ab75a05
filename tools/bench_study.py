"""Measure the training rate of replicas, and project the time of the paper's study from it.

The study is that of configs/paper.py: 426 different runs of 200 epochs. Splits (section 3.1)
and depth (3.2) are single-task: three quarters of the target's 886 ROIs. Cross-validation adds the
multi-task runs, which also train on the 659 ROIs of the two other collections; the two runs of the
test stage (3.3) train on all ROIs of the target (Table 2).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import bench_forms
import bench_step
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from mtl_jax.models import alexnet
from mtl_jax.models.base import init
from mtl_jax.training import dataset, devices, feature_cache, optimizer, orientations
from mtl_jax.training.epoch import EpochOrder, make_epoch
from mtl_jax.training.objective import multi_task_objective
from mtl_jax.training.replicas import make_replicas, share, stack_on_host, stack_replicas
from mtl_jax.training.step import make_replica_step, make_step
from mtl_jax.types import Params, TrainState

EPOCHS = 200
TARGET, OTHERS = 886, 322 + 337  # ROIs of the training sets, Table 2
FOLD = TARGET * 3 // 4  # training ROIs of the target if one fold of four is held out


class Runs(NamedTuple):
    """`count` runs of a network (freeze depth) on `rois` ROIs each."""

    network: str
    rois: int
    count: int

    @property
    def steps(self) -> int:
        """Steps of one run."""
        return EPOCHS * dataset.steps_per_epoch(self.rois, bench_step.BATCH)


# 10 splits x 2 networks x 2 initializations x 4 folds; 6 networks x 10 initializations x 4 folds,
# minus the 16 done in the splits stage; 10 x 4 multi-task (the single-task ones are done); 2 tests.
STUDY = (
    *(Runs(network, FOLD, 40) for network in ("C0", "C1-C2", "C1-C4", "C1-C5")),
    *(Runs(network, FOLD, 80 + 40 - 8) for network in ("C1", "C1-C3")),
    Runs("C1", FOLD + OTHERS, 40),
    Runs("C1", TARGET, 1),
    Runs("C1", TARGET + OTHERS, 1),
)


def speed(
    networks: Sequence[str],
    counts: Sequence[int],
    precisions: Sequence[str],
    steps: int,
    rounds: int = 5,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each network, precision and number of replicas, with images per second of all
    replicas; then the hours of the study at the best of them. `steps` is the number of steps per
    measurement."""
    source = bench_step.random_dataset(bench_step.ROIS)
    params = jax.device_get(init(alexnet.AlexNet(), jax.random.key(0)))
    best: dict[str, dict[str, float]] = {precision: {} for precision in precisions}
    for name in networks:
        frozen = optimizer.frozen_layers(name)
        feature_cache.clear_cache()
        maps, first = feature_cache.cached_source(alexnet.AlexNet(), params, source, frozen)
        for precision in precisions:
            candidates = {
                n: epoch_of_replicas(frozen, params, maps, first, n, precision, steps)
                for n in counts
            }
            rows = list(replica_rows(name, precision, candidates, steps, rounds))
            yield from rows
            best[precision][name] = max(row["ours"] for row in rows)
    for precision, rates in best.items():
        yield projection(precision, rates)


def replica_rows(
    name: str,
    precision: str,
    candidates: dict[int, Callable[[], None]],
    steps: int,
    rounds: int,
    seconds: float = float("inf"),
    form: str = bench_forms.SUM,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of replicas, from functions that take `steps` steps of them.

    `form` is that of several replicas.
    """
    best = bench_step.time_in_turn(candidates | bench_step.reference(precision), rounds, seconds)
    floor = bench_step.floor(len(optimizer.frozen_layers(name)), best)
    rates = {n: n * steps * bench_step.BATCH / best[n] for n in candidates}
    for n, rate in rates.items():
        yield {
            "what": f"replicas, batch {bench_step.BATCH}",
            "network": name,
            "precision": precision,
            "form": form if n > 1 else bench_forms.ALONE,
            "replicas": n,
            "ours": rate,
            "times_one": n * rates[1] / rate if 1 in rates else None,
            "floor": bench_step.BATCH / floor,
            "of_floor": rate * floor / bench_step.BATCH,
            "load": os.getloadavg()[0],
        }


def projection(precision: str, rates: dict[str, float]) -> dict[str, Any]:
    """Return the row of the study's hours at these images per second of each network.

    The hours are those of the steps alone: they exclude compilation and the work of the host
    between runs (initial weights, transfer of the ROIs, checkpoints, scoring, analyses).
    """
    measured = [t for t in STUDY if t.network in rates]
    images = [t.count * t.steps * bench_step.BATCH for t in measured]
    return {
        "what": "the paper's study, projected without the host's work between runs",
        "precision": precision,
        "trainings": sum(t.count for t in measured),
        "steps": sum(t.count * t.steps for t in measured),
        "hours": sum(n / rates[t.network] for n, t in zip(images, measured, strict=True)) / 3600,
    }


def epoch_of_replicas(
    frozen: tuple[str, ...],
    params: Params,
    source: dataset.BatchSource,
    first: str,
    runs: int,
    precision: str,
    steps: int,
    sharding: NamedSharding | None = None,
    device_count: int = 1,
    form: str = bench_forms.SUM,
) -> Callable[[], None]:
    """Return a function that takes `steps` steps of all `runs`, as `training.fit` does, and waits.

    Several runs are replicas, as many on each of `device_count` devices; in another `form` than
    SUM on one device. The other benchmarks use epochs and replicas only through this function.
    """
    replicas = make_replicas(runs, device_count)
    network = alexnet.AlexNet(dropout=0.5)
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), frozen)
    task_weights = (1.0,) * (int(source.task.max()) + 1)
    objective = multi_task_objective(network, task_weights, first, precision=precision)
    if replicas and form != bench_forms.SUM:
        epoch = bench_forms.make_epoch(form, objective, tx)
    else:
        step = (make_replica_step if replicas else make_step)(objective, tx)
        epoch = make_epoch(step, sharding, False, replicas)
    one = TrainState(jnp.int32(0), params, tx.init(params))
    count = replicas.count if replicas else 1
    state = [
        stack_replicas([one] * count, replicas) if replicas else devices.replicate(one, sharding)
    ]
    images = len(source.label)
    images *= 1 if isinstance(source, dataset.Activations) else orientations.COUNT
    indices, source = random_order(images, steps), share(source, replicas)
    order = EpochOrder(indices, np.ones(indices.shape, bool), np.full(steps, 1e-3, np.float32))
    order = stack_on_host([order] * count, replicas)
    key = stack_replicas([jax.random.key(0)] * count, replicas)

    def run_epoch() -> None:
        state[0], read = epoch(state[0], source, order, key, lambda done: None)
        read()

    return run_epoch


def random_order(images: int, steps: int) -> np.ndarray:
    """Return indices (steps, batch) of `images` images."""
    return np.random.default_rng(0).integers(0, images, (steps, bench_step.BATCH))
