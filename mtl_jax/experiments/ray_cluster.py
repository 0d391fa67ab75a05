"""Runs as tasks of a Ray cluster. Every node must see the work folder, the cache and the data under
the same paths.
"""

import contextlib
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import filelock
from ml_collections import ConfigDict

from mtl_jax.experiments.study_inputs import config_to_json, prepare_from_json
from mtl_jax.experiments.train_runs import train_and_score
from mtl_jax.io import signals
from mtl_jax.training import malloc
from mtl_jax.types import InputError, Run

RETRIES = 5  # of a run whose worker died

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise InputError(
        "config.executor 'ray' needs Ray: pip install 'mtl_jax[ray]', or set it to 'local'"
    ) from error


def run_all(
    runs: Sequence[Run], folder: Path, c: ConfigDict, finished: Callable[[Run], None]
) -> None:
    """Hand every run to the cluster and tells `finished` of each as it ends.

    A run whose worker or node dies is started again, from its latest checkpoint.
    """
    if not runs:
        return
    connect(c.ray.address)
    task = ray.remote(run_task).options(
        num_cpus=c.ray.cpus, num_gpus=c.ray.gpus, max_retries=RETRIES
    )
    settings = config_to_json(c)
    here = str(Path.cwd())
    waiting = {task.remote(run, str(folder), here, settings): run for run in runs}
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1)
        for reference in ready:
            run = waiting.pop(reference)
            try:
                ray.get(reference)
            except RayTaskError as error:
                raise error.cause from error  # what the run raised, such as InputError
            except RayError as error:
                raise InputError(
                    f"run {run.id}: its worker or node died more than {RETRIES} times; "
                    "is there enough memory for a run?"
                ) from error
            finished(run)


def connect(address: str | None) -> None:
    """Connect to the cluster at `address` (host:port, ray://host:port, auto), or starts one of
    this machine alone. InputError where none answers."""
    try:
        place = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address or "")
        if place:  # Ray itself would try for two minutes
            socket.create_connection((place[1], int(place[2])), timeout=10).close()
        ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        signals.install_handlers()  # Ray has put a handler of its own there
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"config.ray.address {address!r}: no Ray cluster answers there "
            f"({' '.join(str(error).split())[:120]}); start one with 'ray start --head'"
        ) from error


def run_task(run: Run, folder: str, here: str, settings: str) -> None:
    """One run, on a worker, with paths relative to the folder `here` as in the driver.

    The lock is against an earlier attempt that was given up for lost and still writes; whichever
    comes second finds the run done.
    """
    malloc.keep_freed_memory()
    with contextlib.chdir(here):
        place = Path(folder) / "runs" / run.id
        place.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place / ".lock"):
            if not (place / "scores.csv").exists():
                c, inputs = prepare_from_json(settings)
                train_and_score([run], [place], *inputs.of_runs, c)
