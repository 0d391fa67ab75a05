"""Does the runs of a stage that are missing, here or on a Ray cluster. Knows no statistics."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax.nouns import Run
from mtl_jax.study.execute import execute
from mtl_jax.study.materials import Materials
from mtl_jax.study.together import announce

Finished = Callable[[Run], None]
Executor = Callable[[Sequence[Run], Path, Materials, ConfigDict, Finished], None]


def is_done(run: Run, folder: Path) -> bool:
    return (folder / "runs" / run.id / "scores.csv").exists()


def missing(runs: Sequence[Run], folder: Path) -> list[Run]:
    """Those not done yet, each once."""
    return [run for run in dict.fromkeys(runs) if not is_done(run, folder)]


def local(
    runs: Sequence[Run], folder: Path, materials: Materials, c: ConfigDict, finished: Finished
) -> None:
    """One after another, in this process, and in those that train together with it."""
    for run in runs:
        announce(run, c)
        execute(run, folder / "runs" / run.id, *materials.of_runs, c)
        finished(run)


def ray(
    runs: Sequence[Run], folder: Path, materials: Materials, c: ConfigDict, finished: Finished
) -> None:
    """Each a task of a Ray cluster, which prepares the materials itself."""
    from mtl_jax.study import cluster  # Ray is an extra

    cluster.run_all(runs, folder, c, finished)


EXECUTORS: dict[str, Executor] = {"local": local, "ray": ray}
