"""The number of epochs of each run, and estimates of the compute and memory that a study needs."""

import functools
import math
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
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.types import ROI_PIXELS, RoiSet, Run

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


@functools.cache
def layer_operations(backbone: str) -> dict[str, float]:
    """Return the floating-point operations of each layer in a forward pass of one ROI: two for each
    multiplication and addition of its products and convolutions.

    They are counted in the traced program, because XLA counts operations on CPUs alone.
    """
    network = registry.build(backbone)
    variables = {"params": jax.eval_shape(lambda: init(network, jax.random.key(0)))}
    x = jax.ShapeDtypeStruct((1, ROI_PIXELS, ROI_PIXELS, 3), jnp.float32)
    operations = {}
    for name in network.layers:
        apply = functools.partial(network.apply, first=name, last=name)
        operations[name] = 2.0 * _multiplications(jax.make_jaxpr(apply)(variables, x).jaxpr)
        x = jax.eval_shape(apply, variables, x)
    return operations


def _multiplications(program: Any) -> int:
    """Return the multiplications of the products and convolutions of a jaxpr, in all its parts.

    A loop of unknown length counts once.
    """
    count = 0
    for operation in program.eqns:
        name, settings = operation.primitive.name, operation.params
        if name == "dot_general":
            (contracted, _), _ = settings["dimension_numbers"]
            shape = operation.invars[0].aval.shape
            count += operation.outvars[0].aval.size * math.prod(shape[n] for n in contracted)
        elif name == "conv_general_dilated":
            kernels = operation.invars[1].aval
            n_kernels = kernels.shape[settings["dimension_numbers"].rhs_spec[0]]
            count += operation.outvars[0].aval.size * kernels.size // n_kernels
        parts = jax.tree.leaves(list(settings.values()), is_leaf=_is_program)
        inner = [_multiplications(getattr(p, "jaxpr", p)) for p in parts if _is_program(p)]
        if name == "cond":  # one of its branches is computed
            inner = [max(inner)]
        count += sum(inner) * (settings["length"] if name == "scan" else 1)
    return count


def _is_program(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


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
