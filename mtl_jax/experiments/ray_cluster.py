"""Train runs as tasks of a Ray cluster.

Every node needs the work folder, the cache and the data under the same paths.
"""

import contextlib
import functools
import json
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import filelock
from ml_collections import ConfigDict

from mtl_jax import config, environment
from mtl_jax.experiments.study_inputs import StudyInputs, prepare_inputs
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
    runs: Sequence[Run], folder: Path, c: ConfigDict, on_finished: Callable[[Run], object]
) -> None:
    """Train all runs on the cluster and call `on_finished` after each.

    A run whose worker or node dies is started again from its latest checkpoint.
    """
    if not runs:
        return
    connect(c.ray.address)
    task = ray.remote(run_task).options(
        num_cpus=c.ray.cpus, num_gpus=c.ray.gpus, max_retries=RETRIES
    )
    settings = json.dumps(c.to_dict(), sort_keys=True)
    directory = str(Path.cwd())
    pending = {task.remote(run, str(folder), directory, settings): run for run in runs}
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1)
        for reference in ready:
            run = pending.pop(reference)
            try:
                ray.get(reference)
            except RayTaskError as error:
                raise error.cause from error  # what the run raised, such as InputError
            except RayError as error:
                raise InputError(
                    f"run {run.id}: its worker or node died more than {RETRIES} times; "
                    "check that the nodes have enough memory for a run"
                ) from error
            on_finished(run)


def connect(address: str | None) -> None:
    """Connect to the cluster at `address` (host:port, ray://host:port or auto), or start one on
    this machine. InputError if no cluster answers."""
    try:
        host_port = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address or "")
        if host_port:  # Ray itself would try for two minutes
            socket.create_connection((host_port[1], int(host_port[2])), timeout=10).close()
        ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        signals.install_handlers()  # Ray has installed a handler of its own
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"config.ray.address={address!r}: cannot connect to a Ray cluster "
            f"({' '.join(str(error).split())[:120]}); start one with 'ray start --head'"
        ) from error


def run_task(run: Run, folder: str, directory: str, settings: str) -> None:
    """Train one run on a worker; paths are relative to `directory`, that of the driver.

    An earlier attempt that Ray considers lost may still write. The lock makes this attempt wait; it
    then finds the run finished.
    """
    malloc.keep_freed_memory()
    with contextlib.chdir(directory):
        run_folder = Path(folder) / "runs" / run.id
        run_folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(run_folder / ".lock"):
            if not (run_folder / "scores.csv").exists():
                c, inputs = _prepare_inputs(settings)
                train_and_score([run], [run_folder], *inputs.run_inputs, c)


@functools.cache
def _prepare_inputs(settings: str) -> tuple[ConfigDict, StudyInputs]:
    """Return the config in a JSON text and its inputs, once for all runs of a worker."""
    c = config.default()
    c.update(json.loads(settings))
    environment.reject_settings()
    environment.set_deterministic(c.deterministic)
    return c, prepare_inputs(c)
