"""The number of epochs of each run, and estimates of the compute and memory that a study needs."""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mtl_jax.config import MATCHED_STEPS, has_option
from mtl_jax.experiments.splits import Split, run_rows
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.models import registry
from mtl_jax.models.base import init
from mtl_jax.models.precision import FLOAT32, compute_dtype, matmul_precision
from mtl_jax.training import orientations
from mtl_jax.training.dataset import steps_per_epoch
from mtl_jax.training.optimizer import frozen_layers, make_optimizer
from mtl_jax.types import ROI_PIXELS, RoiSet, Run

# Activations and their gradients, per operation of a forward pass: AlexNet has 4 MB of activations
# for 0.45e9 operations; VGG16 and ResNet-18 have fewer bytes per operation.
BYTES_PER_OPERATION = 0.009
STEP_PASSES = 3.0  # a training step costs as much as so many forward passes of the trained layers


class Cost(NamedTuple):
    """Number of training steps, and of floating-point operations of what a run computes."""

    steps: int = 0
    training: float = 0.0
    frozen: float = 0.0  # the activations of the frozen layers, before the training
    validation: float = 0.0  # during the training
    scoring: float = 0.0  # after it

    @property
    def operations(self) -> float:
        return sum(self[1:])


def n_epochs(
    run: Run, collections: Mapping[str, RoiSet], split: Split, train_config: ConfigDict
) -> int:
    """Return the number of epochs of a run.

    With `match_steps`, or the option steps=matched of the approach, it is the smallest number with
    at least as many steps as a run on all training cases of all collections. Single-task learning
    then passes over its fewer ROIs more often, so that it is not at a disadvantage from fewer
    steps.
    """
    if not (train_config.match_steps or has_option(run.approach, MATCHED_STEPS)):
        return train_config.epochs
    unused = tuple(name for name in collections if name not in run.tasks)
    largest = replace(run, tasks=(*run.tasks, *unused), target_cases=None)
    epoch_steps, max_epoch_steps = (
        steps_per_epoch(n_training_rois(r, collections, split), train_config.batch_size)
        for r in (run, largest)
    )
    return -(-train_config.epochs * max_epoch_steps // max(epoch_steps, 1))


def run_cost(
    run: Run,
    collections: Mapping[str, RoiSet],
    split: Split,
    train_config: ConfigDict,
    backbone: str,
) -> Cost:
    """Return the cost of a run, by the number of forward passes of ROIs in all orientations.

    A training step costs STEP_PASSES of the trained layers (its backward pass costs two). Each
    validation costs one pass of the trained layers, and scoring one of all layers. The frozen
    layers are computed once.
    """
    training_rows, scored_rows = run_rows(run, collections, split)
    epochs = n_epochs(run, collections, split, train_config)
    trained = _trained_operations(run.network, backbone)
    frozen = sum(layer_operations(backbone).values()) - trained
    training_images = _count_rows(training_rows) * orientations.COUNT
    scored_images = _count_rows(scored_rows) * orientations.COUNT
    interval = 0 if run.fold is None else train_config.validation_epochs
    n_validations = -(-epochs // interval) if interval else 0
    return Cost(
        epochs * steps_per_epoch(_count_rows(training_rows), train_config.batch_size),
        STEP_PASSES * epochs * training_images * trained,
        training_images * frozen,
        n_validations * scored_images * trained,
        (training_images + scored_images) * trained + scored_images * frozen,
    )


def step_operations(run: Run, batch_size: int, backbone: str) -> float:
    """Return the operations of a training step of a run."""
    return STEP_PASSES * batch_size * _trained_operations(run.network, backbone)


def _trained_operations(network: str, backbone: str) -> float:
    """Return the operations of the layers that are not frozen, in a forward pass of one ROI."""
    frozen = frozen_layers(network)
    return sum(n for name, n in layer_operations(backbone).items() if name not in frozen)


def total_cost(runs: Sequence[Run], c: ConfigDict, inputs: StudyInputs) -> Cost:
    """Return the cost of all `runs`."""
    collections, split = inputs.collections, inputs.split
    costs = [run_cost(run, collections, split, c.train, inputs.backbone(run)) for run in runs]
    return Cost(*map(sum, zip(*costs, strict=True)))


def training_bytes(backbone: str, network: str, train: ConfigDict) -> tuple[float, float]:
    """Return the approximate memory of a training step: of the weights, the gradients, the
    optimizer state, and the updated copies of weights and state; and per ROI of the batch, of its
    activations and their gradients."""
    frozen = frozen_layers(network)
    params = jax.eval_shape(lambda: init(registry.build(backbone), jax.random.key(0)))
    state = jax.eval_shape(make_optimizer(train, frozen).init, params)
    trained = {name: layer for name, layer in params.items() if name not in frozen}
    operations = sum(layer_operations(backbone).values())
    return (
        _count_bytes(params) + 2.0 * _count_bytes(trained) + 2.0 * _count_bytes(state),
        operations * BYTES_PER_OPERATION,
    )


def _count_bytes(tree: Any) -> int:
    return sum(4 * leaf.size for leaf in jax.tree.leaves(tree))


def roi_bytes(backbone: str, cached: tuple[str, ...]) -> tuple[float, float]:
    """Return the memory per ROI of the training dataset: its pixels, and the activations of the
    `cached` layers in its eight orientations."""
    pixels = 2.0 * ROI_PIXELS**2
    if not cached:
        return pixels, 0.0
    model = registry.build(backbone)
    params = jax.eval_shape(lambda: init(model, jax.random.key(0)))
    image = jax.ShapeDtypeStruct((1, ROI_PIXELS, ROI_PIXELS, 1), jnp.float32)
    apply = functools.partial(model.apply, last=cached[-1])
    features = jax.eval_shape(apply, {"params": params}, image)
    return pixels, 4.0 * orientations.COUNT * features.size


@functools.cache
def layer_operations(backbone: str) -> dict[str, float]:
    """Return the floating-point operations of each layer in a forward pass of one ROI, as counted
    by XLA."""
    network = registry.build(backbone)
    variables = {"params": jax.eval_shape(lambda: init(network, jax.random.key(0)))}
    x = jax.ShapeDtypeStruct((1, ROI_PIXELS, ROI_PIXELS, 3), jnp.float32)
    operations = {}
    for name in network.layers:
        apply = functools.partial(network.apply, first=name, last=name)
        operations[name] = float(jax.jit(apply).lower(variables, x).cost_analysis()["flops"])
        x = jax.eval_shape(apply, variables, x)
    return operations


def measure_speed(size: int = 1024, seconds: float = 0.5, precision: str = FLOAT32) -> float:
    """Return the operations per second of matrix products on this device, in a precision of
    config.train: about the upper limit of training."""
    a = jnp.ones((size, size), compute_dtype(precision))
    with matmul_precision(precision):
        product = jax.jit(jnp.matmul).lower(a, a).compile()
    product(a, a).block_until_ready()
    begin, count = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        product(a, a).block_until_ready()
        count += 1
    return 2.0 * size**3 * count / (time.monotonic() - begin)


def n_training_rois(run: Run, collections: Mapping[str, RoiSet], split: Split) -> int:
    """Return the number of training ROIs of a run."""
    return _count_rows(run_rows(run, collections, split)[0])


def _count_rows(rows: Mapping[str, np.ndarray]) -> int:
    return sum(map(len, rows.values()))
