"""Concurrent jobs share a cache: work is done once, and locks of killed jobs are released."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kit.spoiling import films

ROOT = Path(__file__).parents[2]
JOB = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from kit.spoiling import load
from mtl_jax.data import extract_rois
read_stored = extract_rois.read_stored
def read_slowly(path, frame, bits):
    with open(sys.argv[2] + "/read", "a") as file:
        file.write(path.name + "\\n")
    time.sleep(0.3)
    return read_stored(path, frame, bits)
extract_rois.read_stored = read_slowly
print(len(load(Path(sys.argv[1]), Path(sys.argv[2]))))
"""


def start(table: Path, cache: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(table), str(cache), str(Path(__file__).parents[1])],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_images(cache: Path, count: int) -> None:
    """Wait until `count` images are being read."""
    path = cache / "read"
    while not (path.exists() and path.read_text().count("\n") >= count):
        time.sleep(0.01)


@pytest.mark.slow  # starts three jobs
def test_three_jobs_that_share_a_cache_read_each_image_once(tmp_path: Path) -> None:
    table, cache = films(tmp_path / "films", 6), tmp_path / "cache"
    cache.mkdir()
    jobs = [start(table, cache) for _ in range(3)]
    output = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], output
    assert [out.strip() for out, _ in output] == ["6", "6", "6"]
    assert sorted((cache / "read").read_text().split()) == [f"{i}.pgm" for i in range(6)]
    assert any("waiting for another job that writes" in errors for _, errors in output)
    names = [p.name for p in cache.iterdir() if not p.name.endswith(".lock")]
    assert sorted(names)[0].startswith("ours-") and len(names) == 2  # the other is `read`


def test_the_lock_of_a_killed_job_is_released(tmp_path: Path) -> None:
    table, cache = films(tmp_path / "films", 6), tmp_path / "cache"
    cache.mkdir()
    first = start(table, cache)
    wait_for_images(cache, 3)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (cache / ".ours.lock").exists() and not list(cache.glob("ours-*"))
    second = start(table, cache)
    out, errors = second.communicate(timeout=120)
    assert (second.returncode, out.strip()) == (0, "6"), errors
    assert "waiting" not in errors
    # Images that the first job had finished were not read again.
    assert len((cache / "read").read_text().split()) <= 6 + 1
    assert not list(cache.glob(".*partial*"))
