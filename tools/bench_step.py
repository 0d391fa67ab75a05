"""Measure training steps and scoring of each network, compared with PyTorch and a floor.

The floor is the time of the step's operations and weight traffic at the device's rates of matrix
products and copies, measured in the same rounds. All candidates alternate in each round; a row has
the fastest round of each, because other load only adds time.
"""

import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.config import NETWORKS
from mtl_jax.models import alexnet
from mtl_jax.models.precision import FLOAT32, compute_dtype, matmul_precision
from mtl_jax.training import dataset, devices, feature_cache, objective, optimizer, predict
from mtl_jax.training.step import make_step as make_pure_step
from mtl_jax.types import Params, TrainState

BATCH = 128
EPOCHS = 20  # over which the cost of the activations of frozen layers is divided
ROIS = 64
# Multiply-adds per ROI: pixels of the map x kernel x channels in x channels out.
MAP_SIZES = {"C1": 31, "C2": 15, "C3": 7, "C4": 7, "C5": 7}
CHANNELS = {"C1": 1, "C2": 64, "C3": 192, "C4": 384, "C5": 256}  # one of gray in C1
CONVOLUTION_COSTS = {
    name: MAP_SIZES[name] ** 2 * layer.size**2 * CHANNELS[name] * layer.features
    for name, layer in alexnet.CONVOLUTIONS.items()
}
WIDTHS = (2304, *alexnet.FULLY_CONNECTED.values(), 2)
CONNECTED_COST = sum(a * b for a, b in zip(WIDTHS, WIDTHS[1:], strict=False))
FORWARD_OPERATIONS = 2 * (sum(CONVOLUTION_COSTS.values()) + CONNECTED_COST)  # per ROI


def speed(against: str | None, rounds: int = 8) -> Iterator[dict[str, Any]]:
    """Yield images per second of the step of each network, and of scoring."""
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
            candidates |= {"maps": _compute_activations(frozen[-1], params, source)}
        if against:
            import bench_torch as theirs

            batch = theirs.ready_batch(gray, label)
            order = np.zeros((1, BATCH), int)
            candidates["theirs"] = theirs.training(
                len(frozen), batch, order, "float32", theirs.EAGER
            )
        best = time_in_turn(candidates, rounds)
        caching = best.get("maps", 0.0) / source.count / 8 * BATCH
        ours = best["step"] + caching / EPOCHS
        yield _row(f"step, batch {BATCH}", name, ours, best, floor(len(frozen), best)) | {
            "without_cache": BATCH / best.get("uncached", best["step"]),
            "maps_once": BATCH / caching if caching else None,
        }
    score = predict._mean_of_eight(alexnet.AlexNet(), "C1")
    indices = np.arange(2 * BATCH)
    candidates = {
        "step": lambda: jax.block_until_ready(score(params, source, indices)),
        **reference(),
    }
    if against:
        batch = theirs.ready_batch(*(np.concatenate([part, part]) for part in (gray, label)))
        candidates["theirs"] = theirs.scoring(batch, "float32", theirs.EAGER)
    best = time_in_turn(candidates, rounds)
    forward = 2 * BATCH * FORWARD_OPERATIONS / best["peak"]
    halves = {name: seconds / 2 for name, seconds in best.items()}
    yield _row("scoring, 32 ROIs in 8 orientations", "all", halves["step"], halves, forward / 2)


def random_dataset(rois: int) -> dataset.Dataset:
    rng = np.random.default_rng(0)
    pixels = [rng.normal(0, 500, (rois, 128, 128)).astype(np.int16)]
    return dataset.make_dataset(pixels, [np.arange(rois) % 2], *dataset.pixel_statistics(pixels))


def make_first_batch(source: dataset.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return gray and label of the first batch of `source`."""
    batch = dataset.make_batch(source, jnp.arange(BATCH), jnp.ones(BATCH))
    return np.asarray(batch.image), np.asarray(batch.label)


def make_step(
    frozen: tuple[str, ...], params: Params, source: dataset.BatchSource, first: str
) -> Callable[[], None]:
    """Return a function that makes a batch, takes one training step and waits for it, as
    `training.epoch` does on this machine."""
    network = alexnet.AlexNet(dropout=0.5)
    tx = optimizer.freeze(optimizer.sgd(0.9, 0.0005), frozen)
    make_batch = devices.jit(dataset.make_batch)
    step = devices.jit(
        make_pure_step(objective.multi_task_objective(network, (1.0,), first), tx), donate_argnums=0
    )
    state = [devices.replicate(TrainState(jnp.int32(0), params, tx.init(params)), None)]
    rng, key, weight = np.random.default_rng(0), jax.random.key(0), jnp.ones(BATCH)

    def run_step() -> None:
        indices = rng.integers(0, 8 * ROIS, BATCH)
        state[0], metrics = step(
            state[0], make_batch(source, indices, weight), key, jnp.float32(1e-3)
        )
        metrics["loss"].block_until_ready()

    return run_step


def _compute_activations(last: str, params: Params, source: dataset.Dataset) -> Callable[[], None]:
    """Return a function that computes the activations of the frozen layers for all ROIs."""
    compute = feature_cache._compile_layers(alexnet.AlexNet(), last)
    return lambda: [
        block.block_until_ready()
        for _, block in feature_cache._compute_blocks(compute, params, source)
    ]


class Sizes(NamedTuple):
    """Sizes of the operations of `reference`: large enough for the device's full rate."""

    product: int  # rows of a square matrix
    copy: int  # float32 numbers
    repeats: int  # operations before waiting, so that starting them takes no time


def on_gpu() -> bool:
    return jax.default_backend() != "cpu"


def sizes() -> Sizes:
    return Sizes(8192, 2**28, 10) if on_gpu() else Sizes(2048, 2**25, 1)


@functools.cache
def reference(precision: str = FLOAT32) -> dict[str, Callable[[], None]]:
    """Return matrix products in `precision` and copies, for the floor."""
    size, copied, repeats = sizes()
    # Random numbers: a GPU multiplies constants faster.
    a = jax.random.normal(jax.random.key(0), (size, size), compute_dtype(precision))
    with matmul_precision(precision):
        product = jax.jit(jnp.matmul).lower(a, a).compile()
    halve = jax.jit(lambda b: b * 0.5, donate_argnums=0)
    buffer = [jnp.ones(copied)]

    def multiply() -> None:
        jax.block_until_ready([product(a, a) for _ in range(repeats)][-1])

    def copy() -> None:
        for _ in range(repeats):
            buffer[0] = halve(buffer[0])
        buffer[0].block_until_ready()

    return {"product": multiply, "copy": copy}


def floor(frozen: int, best: dict[str, float], cached: bool = True) -> float:
    """Return the seconds of a step at the rates of `reference`: three passes of the trained layers
    (the first has no input gradient), one of the frozen layers if their activations are not
    `cached`, and the memory traffic of the update."""
    costs = list(CONVOLUTION_COSTS.values())
    trained = costs[frozen:]
    operations = 3 * sum(trained) - (trained[0] if trained else 0) + 3 * CONNECTED_COST
    operations += 0 if cached else sum(costs[:frozen])
    traffic = 5 * 4 * CONNECTED_COST  # reads of weight, velocity, gradient; writes of two
    return 2 * BATCH * operations / best["peak"] + traffic / best["bandwidth"]


def time_in_turn(
    candidates: dict[str, Callable[[], None]], rounds: int, seconds: float = float("inf")
) -> dict[str, float]:
    """Return the seconds of the fastest round of each candidate, which alternate; and, from
    `reference`, `peak` in operations per second and `bandwidth` in bytes per second.

    After the first measured round, none begins later than `seconds`.
    """
    best = dict.fromkeys(candidates, float("inf"))
    measured = 0.0
    for number in range(rounds + 2):
        if measured > seconds:
            break
        for name, run in candidates.items():
            begin = time.perf_counter()
            run()
            if number >= 2:  # the first two compile and warm up
                taken = time.perf_counter() - begin
                best[name], measured = min(best[name], taken), measured + taken
    if "product" in best:
        size, copied, repeats = sizes()
        best["peak"] = repeats * 2 * size**3 / best["product"]
        best["bandwidth"] = repeats * 2 * 4 * copied / best["copy"]
    return best


def _row(what: str, name: str, ours: float, best: dict[str, float], floor: float) -> dict[str, Any]:
    return {
        "what": what,
        "network": name,
        "ours": BATCH / ours,
        "theirs": BATCH / best["theirs"] if "theirs" in best else None,
        "ratio": best["theirs"] / ours if "theirs" in best else None,
        "floor": BATCH / floor,
        "of_floor": floor / ours,
        "peak_gflops": best["peak"] / 1e9,
        "load": os.getloadavg()[0],
    }
