"""How long each run trains, and what a study costs before it starts."""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mtl_jax.experiments.splits import Split, run_rows
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.imaging.roi import ROI_PIXELS
from mtl_jax.models import registry
from mtl_jax.models.base import LAYERS, Network, init
from mtl_jax.training import orientations
from mtl_jax.training.dataset import steps_per_epoch
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.types import RoiSet, Run

# Of a forward pass, with the gradients: AlexNet takes 4 MB of maps for 0.45e9 operations, and
# VGG16 and ResNet-18 take less than that many times as much.
BYTES_AN_OPERATION = 0.009


class Cost(NamedTuple):
    """Training steps, and floating-point operations of training and scoring."""

    steps: int
    operations: float


def n_epochs(
    run: Run, collections: Mapping[str, RoiSet], split: Split, train_config: ConfigDict
) -> int:
    """Return the epochs of this run by the config's `train` section.

    With match_steps a run takes at least as many steps as one that learns all training cases of
    all collections would, and less than an epoch more: single-task learning then sees its fewer
    ROIs more often, and does not lose by having been trained less.
    """
    if not train_config.match_steps:
        return train_config.epochs
    others = tuple(name for name in collections if name not in run.tasks)
    largest = replace(run, tasks=(*run.tasks, *others), target_cases=None)
    own, most = (
        steps_per_epoch(n_training_rois(each, collections, split), train_config.batch_size)
        for each in (run, largest)
    )
    return -(-train_config.epochs * most // max(own, 1))


def run_cost(
    run: Run,
    collections: Mapping[str, RoiSet],
    split: Split,
    train_config: ConfigDict,
    backbone: str,
) -> Cost:
    """Return what `run` takes: a step is three forward passes of the trained layers (one forward,
    two backward); the frozen ones are passed once, for all epochs; scoring is a forward pass, and a
    validation one of the trained layers."""
    learned, scored = run_rows(run, collections, split)
    count = n_epochs(run, collections, split, train_config)
    frozen = set(frozen_layers(run.network))
    layers = layer_operations(backbone)
    trained = sum(value for name, value in layers.items() if name not in frozen)
    images = _count_rows(learned) * orientations.COUNT
    scoring = (images + _count_rows(scored) * orientations.COUNT) * sum(layers.values())
    once = images * (sum(layers.values()) - trained)
    interval = 0 if run.fold is None else train_config.validation_epochs
    validations = -(-count // interval) if interval else 0
    validating = validations * _count_rows(scored) * orientations.COUNT * trained
    return Cost(
        count * steps_per_epoch(_count_rows(learned), train_config.batch_size),
        3.0 * count * images * trained + once + scoring + validating,
    )


def total_cost(runs: Sequence[Run], c: ConfigDict, inputs: StudyInputs) -> Cost:
    """Return what all `runs` take."""
    held, split = inputs.collections, inputs.split
    each = [run_cost(run, held, split, c.train, c.model.backbone) for run in runs]
    return Cost(sum(c.steps for c in each), sum(c.operations for c in each))


def training_bytes(backbone: str, network: str) -> tuple[float, float]:
    """About what a step takes up: weights and momentum with their gradient and successors; and a
    ROI in the batch, its maps and their gradients."""
    frozen = set(frozen_layers(network))
    params = jax.eval_shape(lambda: init(registry.build(backbone), jax.random.key(0)))
    sizes = {
        name: sum(4 * leaf.size for leaf in jax.tree.leaves(layer))
        for name, layer in params.items()
    }
    learned = sum(size for name, size in sizes.items() if name not in frozen)
    operations = sum(layer_operations(backbone).values())
    return sum(sizes.values()) + 4.0 * learned, operations * BYTES_AN_OPERATION


def roi_bytes(backbone: str, network: str) -> float:
    """Return what an ROI takes up where batches are drawn from: its pixels, or the maps of the
    frozen layers in its eight orientations where those are larger."""
    pixels = 2 * ROI_PIXELS**2
    frozen = frozen_layers(network)
    if not frozen:
        return pixels
    own = registry.build(backbone)
    params = jax.eval_shape(lambda: init(own, jax.random.key(0)))
    image = jax.ShapeDtypeStruct((1, ROI_PIXELS, ROI_PIXELS, 1), jnp.float32)
    maps = jax.eval_shape(lambda p, x: own.apply({"params": p}, x, last=frozen[-1]), params, image)
    return max(pixels, 4 * orientations.COUNT * maps.size)


@functools.cache
def layer_operations(backbone: str) -> dict[str, float]:
    """Floating-point operations of a forward pass of one ROI through each layer, as XLA counts
    them."""
    network = registry.build(backbone)
    params = jax.eval_shape(lambda: init(network, jax.random.key(0)))
    x = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    out = {}
    for name in LAYERS:
        apply = functools.partial(_apply_layer, network, name)
        out[name] = float(jax.jit(apply).lower(params, x).cost_analysis()["flops"])
        x = jax.eval_shape(apply, params, x)
    return out


def _apply_layer(network: Network, name: str, params: dict, x: jax.Array) -> jax.Array:
    return network.apply({"params": params}, x, name, name)


def measure_speed(size: int = 1024, seconds: float = 0.5) -> float:
    """Operations a second of this device in products of matrices, measured now: about the most
    that a training can reach."""
    a = jnp.ones((size, size))
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    begin, count = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        product(a, a).block_until_ready()
        count += 1
    return 2.0 * size**3 * count / (time.monotonic() - begin)


def n_training_rois(run: Run, collections: Mapping[str, RoiSet], split: Split) -> int:
    return _count_rows(run_rows(run, collections, split)[0])


def _count_rows(rows: Mapping[str, np.ndarray]) -> int:
    return sum(map(len, rows.values()))
