"""The memory of a device and of the host, and how a study divides it.

A GPU has one budget: what JAX may allocate there. On a CPU it is the memory of the host.
"""

import functools
import os
import sys

import jax

from mtl_jax.io.progress import write_line

# Shares of the budget; the rest of it is for the workspace of convolutions, and for scoring.
ROIS = 0.15  # pixels of the ROIs
ACTIVATIONS = 0.35  # the frozen-feature cache
RUNS = 0.4  # states of the runs that train together, and the temporary arrays of their step
HOST_ACTIVATIONS = 1 / 3  # of the host's memory, if they do not fit on a GPU
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


def is_exhausted(error: Exception) -> bool:
    """Return whether `error` says that a device has too little memory."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


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
