"""Studies on a Ray cluster, including one with a killed node."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.main_here import run_main
from study_command import arguments, finish, read_results, start

ROOT = Path(__file__).parents[1]
CHANGES = {"splits.count": "3"}


@pytest.fixture
def nodes() -> Iterator[subprocess.Popen]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'mtl_jax[ray]'")
    cluster = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "ray_nodes.py")],
        cwd=ROOT,
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
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'mtl_jax[ray]'")
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
        message = "config.ray.address '127.0.0.1:1': no Ray cluster answers there"
    changes = {"executor": "ray", "ray.address": "127.0.0.1:1"}
    ended = run_main(arguments(tmp_path / "w", tmp_path / "cache", changes))
    assert ended.returncode == 2 and message in ended.stderr, ended.stderr
