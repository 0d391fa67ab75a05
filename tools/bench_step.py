"""Measures the training step and the scoring of each network, beside PyTorch and the floor.

The floor is what the device's own products of matrices and copies, measured in the same rounds,
would need for the step's operations and for the traffic of its weights. All contestants take turns
in each round; a row holds the fastest round of each, since other work on a machine only adds.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.config import NETWORKS
from mtl_jax.models import alexnet
from mtl_jax.training import dataset, devices, feature_cache, optimizer, predict, steps
from mtl_jax.types import Params, TrainState

BATCH = 128
EPOCHS = 20  # over which the cost of maps of frozen layers is counted
ROIS = 64
# Multiply-adds an ROI: pixels of the map x kernel x channels in x channels out.
MAPS = {"C1": 31, "C2": 15, "C3": 7, "C4": 7, "C5": 7}
CONVOLVED = {
    name: MAPS[name] ** 2 * layer.size**2 * layer.channels * layer.features
    for name, layer in alexnet.CONVOLUTIONS.items()
} | {"C1": 31**2 * 11**2 * 64}  # on one channel of gray
WIDTHS = (2304, *alexnet.FULLY_CONNECTED.values(), 2)
CONNECTED = sum(a * b for a, b in zip(WIDTHS, WIDTHS[1:], strict=False))


def speed(against: str | None, rounds: int = 8) -> Iterator[dict[str, Any]]:
    """A row for each network's step, and one for scoring: images a second."""
    source = random_dataset(ROIS)
    params = jax.device_get(alexnet.init(alexnet.AlexNet(), jax.random.key(0)))
    gray, label = make_first_batch(source)
    for name in NETWORKS:
        frozen = optimizer.frozen_layers(name)
        feature_cache.clear_cache()
        maps, first = feature_cache.cached_source(alexnet.AlexNet(), params, source, frozen)
        candidates = {"step": make_step(frozen, params, maps, first), **reference()}
        if frozen:
            candidates |= {"uncached": make_step(frozen, params, source, "C1")}
            candidates |= {"maps": _maps_of(frozen[-1], params, source)}
        if against:
            import bench_torch

            candidates |= {"theirs": bench_torch.step(len(frozen), gray, label)}
        best = time_in_turn(candidates, rounds)
        once = best.get("maps", 0.0) / len(source.label) / 8 * BATCH
        ours = best["step"] + once / EPOCHS
        yield _row(f"step, batch {BATCH}", name, ours, best, floor(len(frozen), best)) | {
            "without_cache": BATCH / best.get("uncached", best["step"]),
            "maps_once": BATCH / once if once else None,
        }
    scored = predict._mean_of_eight(alexnet.AlexNet(), "C1")
    indices = np.arange(2 * BATCH)
    candidates = {
        "step": lambda: jax.block_until_ready(scored(params, source, indices)),
        **reference(),
    }
    if against:
        candidates |= {"theirs": bench_torch.scoring(np.concatenate([gray, gray]))}
    best = time_in_turn(candidates, rounds)
    forward = 2 * 2 * BATCH * (sum(CONVOLVED.values()) + CONNECTED) / best["peak"]
    halves = {name: seconds / 2 for name, seconds in best.items()}
    yield _row("scoring, 32 ROIs in 8 orientations", "all", halves["step"], halves, forward / 2)


def random_dataset(rois: int) -> dataset.Dataset:
    rng = np.random.default_rng(0)
    pixels = [rng.normal(0, 500, (rois, 128, 128)).astype(np.int16)]
    return dataset.make_dataset(pixels, [np.arange(rois) % 2], *dataset.pixel_statistics(pixels))


def make_first_batch(source: dataset.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Gray and label of a batch of `source`."""
    batch = dataset.make_batch(source, jnp.arange(BATCH), jnp.ones(BATCH))
    return np.asarray(batch.image), np.asarray(batch.label)


def make_step(
    frozen: tuple[str, ...], params: Params, source: dataset.BatchSource, first: str
) -> Callable[[], None]:
    """One step as `training.epoch` does it on this machine: draw a batch, learn it, wait."""
    network = alexnet.AlexNet(dropout=0.5)
    tx = optimizer.make_optimizer(frozen, optimizer.SGD(0.9, 0.0005))
    draw = devices.jit(dataset.make_batch)
    step = devices.jit(steps.make_train_step(network, tx, (1.0,), first), donate_argnums=0)
    state = [devices.replicate(TrainState(jnp.int32(0), params, tx.init(params)), None)]
    rng, key, weight = np.random.default_rng(0), jax.random.key(0), jnp.ones(BATCH)

    def once() -> None:
        indices = rng.integers(0, 8 * ROIS, BATCH)
        state[0], metrics = step(state[0], draw(source, indices, weight), key, jnp.float32(1e-3))
        metrics.loss.block_until_ready()

    return once


def _maps_of(last: str, params: Params, source: dataset.Dataset) -> Callable[[], None]:
    """What the frozen layers give for all of `source`, computed anew."""
    compute = feature_cache._compile_layers(alexnet.AlexNet(), last)
    return lambda: [
        block.block_until_ready()
        for _, block in feature_cache._compute_blocks(compute, params, source)
    ]


def reference(precision: str = "float32", size: int = 2048) -> dict[str, Callable[[], None]]:
    """A product of matrices and a pass over 128 MB, for the floor."""
    a = jnp.ones((size, size), precision)
    b = jnp.ones(32 * 2**20)
    product, pass_over = jax.jit(jnp.matmul), jax.jit(lambda b: b * 0.5, donate_argnums=0)
    held = [b]

    def copy() -> None:
        held[0] = pass_over(held[0]).block_until_ready()

    return {"product": lambda: product(a, a).block_until_ready(), "copy": copy}


def floor(frozen: int, best: dict[str, float]) -> float:
    """Seconds of a step at the speed of `reference`: three passes of what learns (the first
    layer that learns has no gradient to hand down), and momentum, weight and gradient moved."""
    learned = list(CONVOLVED.values())[frozen:]
    operations = 3 * sum(learned) - (learned[0] if learned else 0) + 3 * CONNECTED
    traffic = 5 * 4 * CONNECTED  # reads of weight, velocity, gradient; writes of two
    return 2 * BATCH * operations / best["peak"] + traffic / best["bandwidth"]


def time_in_turn(candidates: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest round of each, in turn with the others; `peak` in operations a
    second and `bandwidth` in bytes a second from `reference`."""
    best = dict.fromkeys(candidates, float("inf"))
    for number in range(rounds + 2):
        for name, run in candidates.items():
            begin = time.perf_counter()
            run()
            if number >= 2:  # the first two compile and warm up
                best[name] = min(best[name], time.perf_counter() - begin)
    if "product" in best:
        best |= {"peak": 2 * 2048**3 / best["product"], "bandwidth": 2 * 2**27 / best["copy"]}
    return best


def _row(what: str, name: str, ours: float, best: dict[str, float], least: float) -> dict[str, Any]:
    return {
        "what": what,
        "network": name,
        "ours": BATCH / ours,
        "theirs": BATCH / best["theirs"] if "theirs" in best else None,
        "ratio": best["theirs"] / ours if "theirs" in best else None,
        "floor": BATCH / least,
        "of_floor": least / ours,
        "peak_gflops": best["peak"] / 1e9,
        "load": os.getloadavg()[0],
    }
