"""Time the training step of a study on zeros, to estimate its duration before any training."""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mtl_jax.experiments.compute_cost import measure_speed
from mtl_jax.experiments.duration import (
    MIN_STEPS,
    DurationEstimate,
    Work,
    format_duration,
    format_step,
)
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.experiments.train_runs import build_network, cached_layers, make_training
from mtl_jax.models.base import Network, init
from mtl_jax.training import devices
from mtl_jax.training.dataset import Activations, BatchSource, Dataset
from mtl_jax.training.epoch import EpochOrder
from mtl_jax.training.replicas import stack_on_host, stack_replicas
from mtl_jax.types import ROI_PIXELS, Params, TrainState

MAX_SECONDS = 10.0  # of the timed steps
MAX_STEP_SECONDS = 1.0  # at the speed of matrix products; steps that take longer are not timed
ROIS = 64  # of zeros


def estimate_by_zeros(
    groups: Sequence[Work], c: ConfigDict, inputs: StudyInputs, evaluation_seconds: float
) -> str:
    """Return a line with the estimated duration of `groups` and of what follows them."""
    if not groups:
        return "estimated duration: unknown, because the runs train on a cluster"
    work = groups[0]
    speed = measure_speed(precision=c.train.precision)
    estimate = DurationEstimate(time.monotonic(), evaluation_seconds)
    estimate.plan(groups)
    most = "at most " if c.train.early_stopping.fraction > 0 else ""
    if work.step_operations / speed > MAX_STEP_SECONDS:
        estimate.assume(work, work.step_operations / speed, 0.0)
        most, how = "at least ", "from the speed of matrix products: a step takes too long to time"
    else:
        steps, seconds, compile_seconds = time_steps(work, c, inputs)
        estimate.assume(work, seconds, compile_seconds)
        how = f"{steps} steps on zeros took {format_step(seconds)} each"
    return (
        f"estimated duration: {most}{format_duration(estimate.remaining() or 0.0)} ({how}; "
        "training, scoring, statistics, analyses and report)"
    )


def time_steps(work: Work, c: ConfigDict, inputs: StudyInputs) -> tuple[int, float, float]:
    """Return the number of timed steps of a group, the seconds of each, and those of compiling."""
    run, replicas = work.runs[0], work.replicas
    network = build_network(run, inputs.weights[run.approach], c)
    training = make_training(run, network, c.train, c, False, replicas)
    params = init(network, jax.random.key(0))
    source, first = _zeros(network, params, cached_layers(run, c))
    n_replicas = replicas.count if replicas else 1
    state = TrainState(jnp.int32(0), params, training.optimizer().init(params))
    key = jax.random.key(0)
    n_steps = 1 if jax.default_backend() == "cpu" else MIN_STEPS  # of a call
    shape = (n_steps, c.train.batch_size)
    order = EpochOrder(
        np.zeros(shape, np.int32), np.ones(shape, bool), np.zeros(n_steps, np.float32)
    )
    state, keys = (stack_replicas([tree] * n_replicas, replicas) for tree in (state, key))
    order = stack_on_host([order] * n_replicas, replicas)
    if sharding := training.sharding():
        state = devices.replicate(state, sharding)
    source = training.place(source)
    epoch = training.epoch(first, on_host=False)
    ends = [time.monotonic()]
    while len(ends) < 3 or (
        (len(ends) - 2) * n_steps < MIN_STEPS and ends[-1] - ends[1] < MAX_SECONDS
    ):
        state, read = epoch(state, source, order, keys, lambda steps: None)
        read()
        ends.append(time.monotonic())
    timed = (len(ends) - 2) * n_steps
    seconds = (ends[-1] - ends[1]) / timed
    return timed, seconds, max(0.0, ends[1] - ends[0] - n_steps * seconds)


def _zeros(network: Network, params: Params, cached: tuple[str, ...]) -> tuple[BatchSource, str]:
    """Return a source of zeros, and the first layer that its batches go through."""
    label = jnp.zeros(ROIS, jnp.int32)
    if not cached:
        pixels = jnp.zeros((ROIS, ROI_PIXELS, ROI_PIXELS), jnp.int16)
        one = jnp.ones(1)
        digest = np.zeros(32, np.uint8)
        return Dataset(
            pixels, label, label, label, one, one, digest, np.int32(ROIS)
        ), network.layers[0]
    image = jax.ShapeDtypeStruct((ROIS, ROI_PIXELS, ROI_PIXELS, 1), jnp.float32)
    values = jax.eval_shape(
        lambda p, x: network.apply({"params": p}, x, last=cached[-1]), params, image
    )
    zeros = jnp.zeros(values.shape, values.dtype)
    return Activations(zeros, label, label), network.layers[len(cached)]
