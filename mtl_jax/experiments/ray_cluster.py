"""Train runs as tasks of a Ray cluster.

Every node needs the work folder, the cache and the data under the same paths. The driver computes
on its CPU (launch.py), the workers on the GPUs that their runs request.
"""

import contextlib
import functools
import json
import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import filelock
import jax
from ml_collections import ConfigDict

from mtl_jax import config, environment
from mtl_jax.experiments.study_inputs import StudyInputs, prepare_inputs
from mtl_jax.experiments.train_runs import train_and_score
from mtl_jax.io import atomic, signals
from mtl_jax.training import malloc
from mtl_jax.types import InputError, Run

RETRIES = 5  # of a run whose worker died
SHARED_MEMORY = 0.9  # of a GPU, for all the runs that share it
# How much of a GPU's memory a process reserves; JAX rejects both names together.
MEMORY_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise InputError(
        "config.executor 'ray' needs Ray: pip install 'mtl_jax[ray]', or set it to 'local'"
    ) from error


def run_all(
    runs: Sequence[Run],
    folder: Path,
    c: ConfigDict,
    on_finished: Callable[[Run], object],
    on_message: Callable[[str], object],
) -> None:
    """Train all runs on the cluster and call `on_finished` after each.

    A run whose worker or node dies is started again from its latest checkpoint. `on_message` gets
    what each run requests.
    """
    if not runs:
        return
    connect(c.ray.address)
    gpus = request_gpus(c, ray.cluster_resources().get("GPU", 0.0))
    on_message(_describe_request(c, gpus))
    task = ray.remote(run_task).options(**task_options(c.ray.cpus, gpus))
    job = (str(folder), str(Path.cwd()), json.dumps(c.to_dict(), sort_keys=True), gpus)
    platform = None if c.accept_versions else trained_platform(folder)
    pending = {task.remote(run, *job, platform): run for run in runs}
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


def request_gpus(c: ConfigDict, cluster_gpus: float) -> float:
    """Return how many GPUs each run requests in a cluster that has `cluster_gpus`."""
    if c.ray.gpus is not None:
        return c.ray.gpus
    return float(c.devices) if cluster_gpus else 0.0


def task_options(cpus: float, gpus: float) -> dict[str, Any]:
    """Return the options of the task of a run, with the variables of its worker."""
    variables = {} if gpus else malloc.worker_variables()
    return {
        "num_cpus": cpus,
        "num_gpus": gpus,
        "max_retries": RETRIES,
        "runtime_env": {"env_vars": variables} if variables else None,
    }


def _describe_request(c: ConfigDict, gpus: float) -> str:
    """Return what each run requests; InputError if this machine, as the cluster, lacks it.

    Nodes may still join any other cluster, so there the runs wait for one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, total = c.ray.cpus, ray.cluster_resources()
    text = (
        f"Ray: each run requests {cpus:g} CPU and {gpus:g} GPU; the cluster has"
        f" {total.get('CPU', 0):g} CPU and {total.get('GPU', 0):g} GPU on {len(nodes)} nodes"
    )
    if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        return text
    if c.ray.address is None and "RAY_ADDRESS" not in os.environ:
        raise InputError(f"{text}; set config.ray.cpus and config.ray.gpus to at most these")
    return f"{text}, none of which has as many: the runs wait until one joins"


def trained_platform(folder: Path) -> str | None:
    """Return the platform of the first finished run in a work folder; None if there is none."""
    for path in sorted(folder.glob("runs/*/scores.csv")):
        record = json.loads((path.parent / "run.json").read_text(encoding="utf-8"))
        return record["provenance"]["platform"]
    return None


def run_task(
    run: Run, folder: str, directory: str, settings: str, gpus: float, platform: str | None
) -> None:
    """Train one run on a worker; paths are relative to `directory`, that of the driver.

    The runs of a study need the same `platform`, if it is known.

    An earlier attempt that Ray considers lost may still write. The lock makes this attempt wait; it
    then finds the run finished.
    """
    environment.set_deterministic(json.loads(settings)["deterministic"])
    _start_jax(run, gpus, platform)
    with contextlib.chdir(directory):
        run_folder = Path(folder) / "runs" / run.id
        atomic.make_folder(run_folder)
        with filelock.FileLock(run_folder / ".lock"):
            if not (run_folder / "scores.csv").exists():
                c, inputs = _prepare_inputs(settings)
                train_and_score([run], [run_folder], *inputs.run_inputs, c)


def _start_jax(run: Run, gpus: float, platform: str | None = None) -> None:
    """Start JAX on this worker; InputError if `run` requested a GPU and JAX finds none, or if
    another `platform` trained the finished runs.

    Without a request the CPU computes, unless JAX_PLATFORMS names another device: Ray does not hide
    the GPUs of the node, on which other runs may train.
    """
    if not gpus and not os.environ.get("JAX_PLATFORMS"):
        environment.use_cpu()
    if 0 < gpus < 1 and not any(name in os.environ for name in MEMORY_VARIABLES):
        os.environ[MEMORY_VARIABLES[0]] = f"{SHARED_MEMORY * gpus:.3f}"
    malloc.keep_freed_memory()
    worker = f"run {run.id} on the node {socket.gethostname()}"
    try:
        environment.start_jax()
    except InputError as error:
        raise InputError(f"{worker}: {error}") from error
    if gpus and jax.default_backend() == "cpu":
        cause = "JAX finds none: pip install 'mtl_jax[cuda12]' or 'mtl_jax[cuda13]' on that node"
        if os.environ.get("JAX_PLATFORMS"):
            cause = f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']} excludes it: unset it there"
        raise InputError(
            f"{worker} requested a GPU (config.ray.gpus={gpus:g}), and {cause}, or set"
            " config.ray.gpus=0 to train on CPUs"
        )
    if platform and platform != jax.default_backend():
        raise InputError(
            f"{worker} would train on the platform {jax.default_backend()}, and the finished runs"
            f" of the study were trained on {platform}: set config.ray.gpus (here {gpus:g}) to"
            " train on it, or set --accept_versions, which marks results and report as mixed"
        )


@functools.cache
def _prepare_inputs(settings: str) -> tuple[ConfigDict, StudyInputs]:
    """Return the config in a JSON text and its inputs, once for all runs of a worker."""
    c = config.default()
    c.update(json.loads(settings))
    return c, prepare_inputs(c)
