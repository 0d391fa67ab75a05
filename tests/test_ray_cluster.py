"""Studies on a Ray cluster: one with a killed node, and one with GPUs that do not exist."""

import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.main_here import run_main
from study_command import arguments, finish, read_results, start

from mtl_jax import config, environment
from mtl_jax.training import malloc
from mtl_jax.types import InputError, Run

ROOT = Path(__file__).parents[1]
CHANGES = {"splits.count": "3"}


def skip_without_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'mtl_jax[ray]'")


@pytest.fixture
def nodes(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen]:
    """Start a cluster of two nodes, each with as many GPUs as the parameter of the test."""
    skip_without_ray()
    n_gpus = str(getattr(request, "param", 0))
    variables = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS" or n_gpus == "0"}
    cluster = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "ray_nodes.py"), n_gpus],
        cwd=ROOT,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield cluster
    cluster.communicate(timeout=120)


@pytest.mark.slow
def test_killed_node_does_not_change_the_results(tmp_path: Path, nodes: subprocess.Popen) -> None:
    address = nodes.stdout.readline().strip()
    cache, local, cluster = (tmp_path / name for name in ("cache", "local", "cluster"))
    finish(start(local, cache, CHANGES))
    job = start(cluster, cache, {**CHANGES, "executor": "ray", "ray.address": address})
    while not list(cluster.glob("runs/*/history.jsonl")):
        assert job.poll() is None, job.communicate()
        time.sleep(0.05)
    nodes.stdin.write("kill\n")
    nodes.stdin.flush()
    assert nodes.stdout.readline().strip() == "killed"
    output = finish(job)
    finished_ids = [
        line.split()[1] for line in output.splitlines() if line.startswith("finished: ")
    ]
    assert (
        len(finished_ids) == len(set(finished_ids)) == len(list(cluster.glob("runs/*/scores.csv")))
    )
    assert read_results(cluster) == read_results(local)


@pytest.mark.slow
def test_ray_on_one_machine(tmp_path: Path) -> None:
    skip_without_ray()
    cache, local, cluster = (tmp_path / name for name in ("cache", "local", "cluster"))
    finish(start(local, cache))
    finish(start(cluster, cache, {"executor": "ray"}))
    assert read_results(cluster) == read_results(local)
    diverging = {
        "train.learning_rate": "1e9",
        "train.final_learning_rate": "1e9",
        "executor": "ray",
    }
    job = start(tmp_path / "diverging", cache, diverging)
    _, errors = job.communicate(timeout=600)
    lines = [line for line in errors.splitlines() if line.startswith("mtl_jax:")]
    assert job.returncode == 2 and "Traceback" not in errors
    assert "the loss is NaN or infinite at step" in lines[-1]


def test_ray_without_a_cluster_gives_a_one_line_error(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        message = "pip install 'mtl_jax[ray]'"
    else:
        message = "config.ray.address='127.0.0.1:1': cannot connect to a Ray cluster"
    changes = {"executor": "ray", "ray.address": "127.0.0.1:1"}
    ended = run_main(arguments(tmp_path / "w", tmp_path / "cache", changes))
    assert ended.returncode == 2 and message in ended.stderr, ended.stderr


def last_line(job: subprocess.Popen) -> str:
    """Wait for the job and return the line of its error; check exit code 2."""
    _, errors = job.communicate(timeout=600)
    assert job.returncode == 2 and "Traceback" not in errors, errors
    lines = [line for line in errors.splitlines() if line.startswith("mtl_jax:")]
    return lines[-1]  # after the notes


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1], indirect=True)
def test_a_run_that_requested_a_gpu_and_found_none_ends_the_job(
    tmp_path: Path, nodes: subprocess.Popen
) -> None:
    """Both nodes claim a GPU that does not exist. By default each run requests it."""
    if any(map(os.path.exists, environment.NVIDIA_FILES)):
        pytest.skip("this machine has a GPU")
    address = nodes.stdout.readline().strip()
    cluster = {"executor": "ray", "ray.address": address}
    cache, folder = tmp_path / "cache", tmp_path / "w"
    line = last_line(start(folder, cache, cluster))
    assert "run sttl-" in line and f"on the node {socket.gethostname()}" in line
    assert "config.ray.gpus=1" in line and "JAX finds none: pip install 'mtl_jax[cuda12]'" in line
    assert not list(folder.glob("runs/*/history.jsonl"))
    job = start(folder, cache, {**cluster, "ray.gpus": "0"})
    output = finish(job)
    assert "Ray: each run requests 1 CPU and 0 GPU; the cluster has 2 CPU and 2 GPU" in output


@pytest.mark.slow
def test_a_request_that_this_machine_cannot_meet_ends_the_job(tmp_path: Path) -> None:
    skip_without_ray()
    job = start(tmp_path / "w", tmp_path / "cache", {"executor": "ray", "ray.gpus": "99"})
    assert "each run requests 1 CPU and 99 GPU; the cluster has" in last_line(job)


@pytest.mark.slow
def test_the_driver_uses_its_cpu_whatever_the_workers_use(tmp_path: Path) -> None:
    """The variable would stop a process that used it, as there is no such device here."""
    changes = {"executor": "ray", "ray.address": "127.0.0.1:1"}
    job = start(tmp_path / "w", tmp_path / "cache", changes, environment={"JAX_PLATFORMS": "rocm"})
    line = last_line(job)
    assert "[ray]" in line or "cannot connect to a Ray cluster" in line


@pytest.mark.parametrize(
    ("gpus", "devices", "cluster_gpus", "expected"),
    [(None, 1, 0, 0), (None, 1, 8, 1), (None, 4, 8, 4), (0.0, 1, 8, 0), (0.25, 1, 0, 0.25)],
)
def test_gpus_that_a_run_requests(
    gpus: float | None, devices: int, cluster_gpus: float, expected: float
) -> None:
    skip_without_ray()
    from mtl_jax.experiments import ray_cluster

    c = config.default()
    c.ray.gpus, c.devices = gpus, devices
    assert ray_cluster.request_gpus(c, cluster_gpus) == expected


@pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
def test_runs_that_share_a_gpu_share_its_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the environment sets a fraction. The platform of the tests excludes a GPU."""
    skip_without_ray()
    from mtl_jax.experiments import ray_cluster

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(malloc, "keep_freed_memory", lambda: None)
    run = Run("sttl", ("sfm",), "C1", None, 0)

    def start_worker(gpus: float) -> dict[str, str]:
        with pytest.raises(InputError, match=f"gpus={gpus:g}.*JAX_PLATFORMS=cpu excludes it"):
            ray_cluster._start_jax(run, gpus)
        return {k: v for k, v in os.environ.items() if k.endswith("CLIENT_MEM_FRACTION")}

    for key in ray_cluster.MEMORY_VARIABLES:
        monkeypatch.delenv(key, raising=False)
    assert start_worker(1.0) == {}
    monkeypatch.setenv(name, "0.3")
    assert start_worker(0.5) == {name: "0.3"}
    monkeypatch.delenv(name)
    with pytest.MonkeyPatch.context() as restore:  # removes what the worker sets
        restore.setenv("XLA_CLIENT_MEM_FRACTION", "")
        restore.delenv("XLA_CLIENT_MEM_FRACTION")
        assert start_worker(0.25) == {"XLA_CLIENT_MEM_FRACTION": "0.225"}


def test_a_worker_of_another_platform_than_the_finished_runs_does_not_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_ray()
    from mtl_jax.experiments import ray_cluster

    assert ray_cluster.trained_platform(tmp_path) is None
    folder = tmp_path / "runs" / "sttl"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"provenance": {"platform": "gpu"}}')
    assert ray_cluster.trained_platform(tmp_path) is None  # the run is not finished
    (folder / "scores.csv").touch()
    trained = ray_cluster.trained_platform(tmp_path)
    assert trained == "gpu"
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(malloc, "keep_freed_memory", lambda: None)
    run = Run("sttl", ("sfm",), "C1", None, 0)
    ray_cluster._start_jax(run, 0.0, "cpu")
    with pytest.raises(InputError, match="platform cpu, .* trained on gpu: set config.ray.gpus"):
        ray_cluster._start_jax(run, 0.0, trained)


# Allocate, write and free 64 MB five times in a thread of a worker, as in test_malloc.py.
PAGES = """
import ctypes, resource, threading
import ray
from mtl_jax.experiments import ray_cluster
from mtl_jax.training import malloc

def work(size=64 * 2**20):
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    counts = []
    def allocate():
        for _ in range(6):
            counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
            block = libc.malloc(ctypes.c_size_t(size))
            ctypes.memset(block, 1, size)
            libc.free(block)
    keeping = malloc.keep_freed_memory()
    thread = threading.Thread(target=allocate)
    thread.start()
    thread.join()
    return keeping, (counts[-1] - counts[1]) * resource.getpagesize() / size

ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
print(*ray.get(ray.remote(work).options(**ray_cluster.task_options(1.0, 0.0)).remote()))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_a_worker_keeps_freed_memory_although_it_has_other_threads() -> None:
    skip_without_ray()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PAGES]
    ended = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=300)
    keeping, times = ended.stdout.split()
    assert keeping == "True" and float(times) < 0.1, ended.stderr
