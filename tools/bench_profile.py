"""Group the kernels of a training step on a GPU by their operation, from XLA's profiler.

While the profiler runs, XLA launches each kernel on its own instead of as part of a CUDA graph.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

# Parts of the names of cuDNN's, cuBLAS's, Triton's and XLA's kernels; the first that fits counts.
OPERATIONS = {
    "gradients of kernels": ("wgrad",),
    "gradients of inputs": ("dgrad",),
    "forward convolutions": ("fprop", "convolve"),
    "updates": ("subtract_fusion",),
    "conversions": ("convert",),
    "products": ("gemm", "nvjet", "cutlass"),
}
SMALL = 5.0  # microseconds


def profile(run: Callable[[], None], steps: int) -> dict[str, Any]:
    """Return the microseconds per step of each operation in `run`, which takes `steps` steps."""
    run()  # compiles
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (file,) = Path(folder).rglob("*.xplane.pb")
        return by_operation(_kernels(jax.profiler.ProfileData.from_file(str(file))), steps)


def by_operation(kernels: Iterable[tuple[str, float]], steps: int) -> dict[str, Any]:
    """Return the kernels per step and their microseconds: all, small ones, and by operation.

    Each of `kernels` has a name and its microseconds.
    """
    row = dict.fromkeys(("kernels", "kernels_us", "small_kernels", "small_us"), 0.0)
    row |= dict.fromkeys((*OPERATIONS, "others"), 0.0)
    for name, microseconds in kernels:
        fitting = (key for key, parts in OPERATIONS.items() if any(part in name for part in parts))
        row["kernels"] += 1 / steps
        for key in ("kernels_us", next(fitting, "others")):
            row[key] += microseconds / steps
        if microseconds < SMALL:
            row["small_kernels"] += 1 / steps
            row["small_us"] += microseconds / steps
    return row


def _kernels(profile: Any) -> Iterator[tuple[str, float]]:
    """Yield the kernels in the streams of GPUs."""
    for plane in profile.planes:
        for line in plane.lines:
            if "GPU" in plane.name and line.name.startswith("Stream"):
                yield from ((event.name, event.duration_ns / 1000) for event in line.events)
