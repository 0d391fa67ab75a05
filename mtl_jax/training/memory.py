"""The memory of a device and of the host, and how a study divides it.

A GPU has one budget: what JAX may allocate there. On a CPU it is the memory of the host.
"""

import functools
import math
import os
import sys
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mtl_jax.io.progress import write_line
from mtl_jax.models.base import Network, init, output_shapes
from mtl_jax.models.precision import compute_dtype
from mtl_jax.training import objective, orientations
from mtl_jax.training.optimizer import make_optimizer
from mtl_jax.types import ROI_PIXELS, Batch

# Shares of the budget; the rest of it is for the workspace of convolutions, and for scoring.
ROIS = 0.15  # pixels of the ROIs
ACTIVATIONS = 0.35  # the frozen-feature cache
RUNS = 0.4  # states of the runs that train together, and the temporary arrays of their step
HOST_ACTIVATIONS = 1 / 3  # of the host's memory, if they do not fit on a GPU
KEPT = 0.8  # of what the forward pass leaves; XLA computes the rest again
ASSUMED_BYTES = 8e9  # of a GPU that does not report its memory


def device_bytes() -> float:
    """Return the budget of the first device, in bytes."""
    if jax.default_backend() == "cpu":
        return _host_bytes()
    stats = jax.local_devices()[0].memory_stats()
    return float(stats["bytes_limit"]) if stats else _assumed_bytes()


def host_activation_bytes() -> float:
    """Return the bytes of activations that the host may hold besides the device; 0 on a CPU."""
    return 0.0 if jax.default_backend() == "cpu" else HOST_ACTIVATIONS * _host_bytes()


def max_runs(bytes_each: float, device_count: int) -> int:
    """Return how many runs fit on the devices together, at least one on each."""
    return device_count * max(1, int(RUNS * device_bytes() / bytes_each))


def max_datasets(roi_bytes: float, activation_bytes: float) -> int:
    """Return how many datasets fit on a device together, at least 1: their ROIs, and the
    activations of these (0 for none)."""
    fitting = [ROIS * device_bytes() / roi_bytes]
    if activation_bytes:
        fitting.append(ACTIVATIONS * device_bytes() / activation_bytes)
    return max(1, int(min(fitting)))


def roi_bytes(network: Network, cached: tuple[str, ...]) -> tuple[float, float]:
    """Return the bytes per ROI of a training dataset: of its pixels, and of the activations of the
    `cached` layers in its eight orientations."""
    activations = math.prod(output_shapes(network)[cached[-1]]) if cached else 0
    return 2.0 * ROI_PIXELS**2, 4.0 * orientations.COUNT * activations


def run_bytes(
    network: Network, frozen: tuple[str, ...], cached: tuple[str, ...], train: ConfigDict
) -> float:
    """Return the approximate bytes that each of several runs needs on a GPU while they train.

    They are its weights, its optimizer state, its largest gradient (each layer is updated as soon
    as its gradient is known), and what the forward pass leaves for the backward pass. Programs
    compiled for a GPU need at most 18% more, and 20% less (tests/test_gpu_programs.py).
    """
    first = network.layers[len(cached)]
    minimized = objective.multi_task_objective(network, (1.0,), first, precision=train.precision)
    optimizer = make_optimizer(train, frozen)

    def shapes() -> tuple[Any, Any, Any]:
        params = init(network, jax.random.key(0))
        trained = {name: layer for name, layer in params.items() if name not in frozen}
        shape = output_shapes(network)[cached[-1]] if cached else (ROI_PIXELS, ROI_PIXELS, 1)
        rows = jnp.zeros(train.batch_size, jnp.int32)
        image = jnp.zeros((train.batch_size, *shape))
        batch = Batch(image, rows, rows, rows.astype(jnp.float32))
        _, backward, _ = jax.vjp(
            lambda layers: minimized(params | layers, batch, jax.random.key(0)),
            trained,
            has_aux=True,
        )
        return (params, optimizer.init(params)), trained, backward

    state, trained, backward = jax.eval_shape(shapes)
    weights = {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)}
    kept = [leaf for leaf in jax.tree.leaves(backward) if (leaf.shape, leaf.dtype) not in weights]
    largest = max(leaf.size for leaf in jax.tree.leaves(trained))
    gradient = largest * compute_dtype(train.precision).itemsize
    return _bytes(state) + gradient + KEPT * _bytes(kept)


def is_exhausted(error: Exception) -> bool:
    """Return whether `error` says that a device has too little memory."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def _bytes(tree: Any) -> float:
    return float(sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))


def _host_bytes() -> float:
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@functools.cache  # one note
def _assumed_bytes() -> float:
    write_line(
        f"mtl_jax: note: the GPU does not report its memory (XLA_PYTHON_CLIENT_ALLOCATOR=platform):"
        f" {ASSUMED_BYTES / 1e9:.0f} GB are assumed; set config.replicas to train more runs"
        " together",
        sys.stderr,
    )
    return ASSUMED_BYTES
