"""A study on a Ray cluster of two nodes, one of which is killed half way."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from study_command import finish, outcome, start

ROOT = Path(__file__).parents[1]
MORE = {"splits.count": "3"}


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
def test_a_node_that_dies_changes_no_byte(tmp_path: Path, nodes: subprocess.Popen) -> None:
    address = nodes.stdout.readline().strip()
    cache, local, spread = (tmp_path / name for name in ("cache", "local", "spread"))
    finish(start(local, cache, MORE))
    job = start(spread, cache, {**MORE, "executor": "ray", "ray.address": address})
    while not list(spread.glob("runs/*/history.jsonl")):
        assert job.poll() is None, job.communicate()
        time.sleep(0.05)
    nodes.stdin.write("kill\n")
    nodes.stdin.flush()
    assert nodes.stdout.readline().strip() == "killed"
    printed = finish(job)
    done = [line.split()[1] for line in printed.splitlines() if line.startswith("finished: ")]
    assert len(done) == len(set(done)) == len(list(spread.glob("runs/*/scores.csv")))
    assert outcome(spread) == outcome(local)


@pytest.mark.slow
def test_ray_on_this_machine_alone(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'mtl_jax[ray]'")
    cache, local, spread = (tmp_path / name for name in ("cache", "local", "spread"))
    finish(start(local, cache))
    finish(start(spread, cache, {"executor": "ray"}))
    assert outcome(spread) == outcome(local)
    wild = {"train.learning_rate": "1e9", "train.final_learning_rate": "1e9", "executor": "ray"}
    job = start(tmp_path / "wild", cache, wild)
    _, errors = job.communicate(timeout=600)
    lines = [line for line in errors.splitlines() if line.startswith("mtl_jax:")]
    assert job.returncode == 2 and "Traceback" not in errors
    assert "the loss is NaN or infinite at step" in lines[-1]


def test_ray_without_a_cluster_is_answered_in_one_line(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        says = "pip install 'mtl_jax[ray]'"
    else:
        says = "config.ray.address '127.0.0.1:1': no Ray cluster answers there"
    ray = {"executor": "ray", "ray.address": "127.0.0.1:1"}
    job = start(tmp_path / "w", tmp_path / "cache", ray)
    _, errors = job.communicate(timeout=300)
    assert job.returncode == 2, errors
    assert says in errors and "Traceback" not in errors
