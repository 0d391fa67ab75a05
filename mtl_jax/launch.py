"""Prepare the process for a job, and run a study up to its report."""

from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax import environment
from mtl_jax.config import expand_paths, validate
from mtl_jax.training import malloc


def prepare(config: ConfigDict) -> None:
    """Expand the paths of `config`, check it and the environment, and prepare JAX and malloc.

    With executor='ray' this process computes on the CPU: JAX would reserve most of the memory of a
    GPU that the workers need.
    With config.deterministic, it sets a flag that JAX reads when it starts.
    """
    expand_paths(config)
    validate(config)
    environment.reject_settings()
    environment.set_deterministic(config.deterministic)
    if config.executor == "ray":
        environment.use_cpu()
    malloc.keep_freed_memory()


def train_and_report(
    config: ConfigDict, folder: Path, write_report: Callable[[Path], object]
) -> None:
    """Run the study of `config` in `folder`, then call `write_report` on it, in process 0 alone.

    JAX must have started.
    """
    # Imported here, because JAX takes seconds, and an invalid setting needs none.
    from mtl_jax.experiments.runner import run_study
    from mtl_jax.training import multihost

    run_study(config, folder)
    multihost.on_primary(lambda: write_report(folder))
