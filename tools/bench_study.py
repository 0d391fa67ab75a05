"""Measures trainings that go on in lanes together, and from that the time of the paper's study.

The paper's study is 400 trainings of 200 epochs: 10 splits x 2 networks x 2 initializations x 4
folds (section 3.1), and 6 networks x 10 initializations x 4 folds (3.2), each of three quarters of
886 regions of the target and all 659 of the two others.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import bench_step
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from mtl_jax.models import alexnet
from mtl_jax.models.network import init
from mtl_jax.nouns import Params, TrainState
from mtl_jax.training import devices, pool, prefix, transfer
from mtl_jax.training import lanes as side_by_side
from mtl_jax.training.epoch import Order, make_epoch
from mtl_jax.training.lanes import Lanes

TRAININGS = {"C0": 40, "C1": 120, "C1-C2": 40, "C1-C3": 120, "C1-C4": 40, "C1-C5": 40}
LEARNED = 886 * 3 // 4 + 322 + 337  # regions of a fold
STEPS = 200 * pool.steps_per_epoch(LEARNED, bench_step.BATCH)  # of a training


def speed(
    against: str | None,
    networks: Sequence[str],
    counts: Sequence[int],
    precisions: Sequence[str],
    steps: int,
    rounds: int = 5,
) -> Iterator[dict[str, Any]]:
    """A row for each network, precision and number of lanes: images a second of all lanes; then
    the hours of the study at the best of them. `steps` are done between two looks at the clock."""
    source = bench_step.made_up_pool(bench_step.REGIONS)
    gray, label = bench_step.first_batch(source)
    hours: dict[str, dict[str, float]] = {precision: {} for precision in precisions}
    for name in networks:
        frozen = transfer.frozen_layers(name)
        params = jax.device_get(init(alexnet.AlexNet(), jax.random.key(0)))
        prefix.forget()
        maps, first = prefix.shortcut(alexnet.AlexNet(), params, source, frozen)
        for precision in precisions:
            contestants = {
                f"lanes {n}": epoch_of_lanes(
                    frozen, params, maps, first, side_by_side.deal(n, 1), precision, steps
                )
                for n in counts
            } | bench_step.reference(precision)
            if against:
                import bench_torch

                contestants["theirs"] = bench_torch.step(len(frozen), gray, label, precision)
            best = bench_step.race(contestants, rounds)
            floor = bench_step.floor(len(frozen), best)
            rates = {n: n * steps * bench_step.BATCH / best[f"lanes {n}"] for n in counts}
            for n, rate in rates.items():
                yield {
                    "what": f"lanes, batch {bench_step.BATCH}",
                    "network": name,
                    "precision": precision,
                    "lanes": n,
                    "ours": rate,
                    "times_one": n * rates[1] / rate if 1 in rates else None,
                    "theirs": bench_step.BATCH / best["theirs"] if against else None,
                    "ratio": rate * best["theirs"] / bench_step.BATCH if against else None,
                    "floor": bench_step.BATCH / floor,
                    "of_floor": rate * floor / bench_step.BATCH,
                    "load": os.getloadavg()[0],
                }
            images = TRAININGS[name] * STEPS * bench_step.BATCH
            hours[precision][name] = images / max(rates.values()) / 3600
    for precision, of_networks in hours.items():
        yield {
            "what": "the paper's study, projected",
            "precision": precision,
            "trainings": sum(TRAININGS[name] for name in of_networks),
            "steps": STEPS,
            "hours": sum(of_networks.values()),
        }


def epoch_of_lanes(
    frozen: tuple[str, ...],
    params: Params,
    source: pool.Source,
    first: str,
    lanes: Lanes | None,
    precision: str,
    steps: int,
    sharding: NamedSharding | None = None,
) -> Callable[[], None]:
    """`steps` steps of all `lanes` together, as `training.fit` does them on this machine."""
    computed = "float32" if precision == "tf32" else precision
    network = alexnet.AlexNet(dropout=0.5)
    sgd = transfer.SGD(0.9, 0.0005)
    epoch = make_epoch(network, frozen, sgd, (1.0,), sharding, first, False, computed, lanes)
    optimizer = transfer.optimizer(frozen, sgd)
    one = TrainState(jnp.int32(0), params, optimizer.init(params))
    count = lanes.count if lanes else 1
    state = [
        side_by_side.stack([one] * count, lanes) if lanes else devices.replicate(one, sharding)
    ]
    picks = np.random.default_rng(0).integers(0, 8 * bench_step.REGIONS, (steps, bench_step.BATCH))
    order = Order(jnp.asarray(picks), jnp.ones(picks.shape, bool), jnp.full(steps, 1e-3))
    key, order = (side_by_side.stack([each] * count, lanes) for each in (jax.random.key(0), order))

    def once() -> None:
        # TF32 is what JAX itself takes for float32 on a GPU.
        with jax.default_matmul_precision("highest" if precision == "float32" else "default"):
            state[0], _ = epoch(state[0], source, order, key, lambda done: None)

    return once
