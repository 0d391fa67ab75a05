"""Does the runs of a stage that are missing, here or on a Ray cluster. Knows no statistics."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from mtl_jax.nouns import Run
from mtl_jax.study.execute import execute
from mtl_jax.study.length import training_bytes
from mtl_jax.study.materials import Materials
from mtl_jax.study.together import announce
from mtl_jax.training import hosts
from mtl_jax.training.lanes import deal, most
from mtl_jax.training.transfer import frozen_layers

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
    """In this process one after another, or in lanes together where they may be; each run by all
    processes that train together, where there are several.

    Lanes are dealt by all runs of the stage, done or not, so that a study that was stopped goes on
    in the lanes it had.
    """
    for group in groups(runs, materials, c):
        lanes = deal(len(group), c.devices) if hosts.alone() else None
        todo = missing(group, folder)
        for some in [todo] if lanes and todo else [[run] for run in todo]:
            announce(some[0], c)
            folders = [folder / "runs" / run.id for run in some]
            execute(some, folders, *materials.of_runs, c, lanes)
            for run in some:
                finished(run)


def groups(runs: Sequence[Run], materials: Materials, c: ConfigDict) -> list[list[Run]]:
    """`runs` dealt into those that differ in their seed alone and learn the same regions through
    the same frozen layers, as many at most as config.lanes says or fit on the devices."""
    alike: dict[Run, list[Run]] = {}
    for run in dict.fromkeys(runs):
        pretrained = set(frozen_layers(run.network)) <= set(materials.weights.params)
        together = pretrained and run.target_cases is None
        alike.setdefault(replace(run, seed=0) if together else run, []).append(run)
    found = []
    for of_one_kind in alike.values():
        size = c.lanes or _most(c.model.trunk, of_one_kind[0].network, c)
        found += [of_one_kind[i : i + size] for i in range(0, len(of_one_kind), size)]
    return found


def _most(trunk: str, network: str, c: ConfigDict) -> int:
    state, passing = training_bytes(trunk, network)
    return most(state + c.train.batch_size * passing, c.devices)


def ray(
    runs: Sequence[Run], folder: Path, materials: Materials, c: ConfigDict, finished: Finished
) -> None:
    """Each a task of a Ray cluster, which prepares the materials itself."""
    from mtl_jax.study import cluster  # Ray is an extra

    cluster.run_all(missing(runs, folder), folder, c, finished)


EXECUTORS: dict[str, Executor] = {"local": local, "ray": ray}
