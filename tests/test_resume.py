"""A study that is killed, and run again, gives what it would have given unbroken, to the bit."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from study_command import finish, read_results, start

WIDER = {
    "approaches": "('mttl','sttl')",
    "data.sources": "('phantom:sfm','phantom:dm')",
    "splits.count": "2",
    "depth.networks": "('C1-C4','C1-C5')",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def kill(job: subprocess.Popen, after: float) -> bool:
    """Kills `job` after so many seconds; False where it had ended, well, before."""
    try:
        job.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        job.send_signal(signal.SIGKILL)
        job.communicate()
        return True
    assert job.returncode == 0
    return False


def test_killed_or_stopped_in_two_of_its_runs(tmp_path: Path, cache: Path) -> None:
    whole = finish(start(tmp_path / "whole", cache))
    assert "splits: 0 of 2 runs already finished" in whole and "depth: 2 of 2 runs" in whole
    expected = read_results(tmp_path / "whole")
    workdir = tmp_path / "broken"
    for run, how in (
        ("sttl-C1-C5-split1-fold2-seed0", signal.SIGTERM),
        ("sttl-C1-C5-test-seed0", signal.SIGKILL),  # its lock keeps nobody out
    ):
        job = start(workdir, cache)
        history = workdir / "runs" / run / "history.jsonl"
        while not (history.exists() and history.stat().st_size):
            assert job.poll() is None, job.communicate()
            time.sleep(0.02)
        job.send_signal(how)
        _, errors = job.communicate()
        assert not (workdir / "results.json").exists()
        if how != signal.SIGKILL:
            assert job.returncode == 128 + how, errors
            assert f"stopped by {how.name}; rerun the same command to resume" in errors
            assert "Traceback" not in errors
            assert list((workdir / "runs" / run / "checkpoint").glob("[0-9]"))
    assert "splits: 2 of 2 runs already finished" in finish(start(workdir, cache))
    assert read_results(workdir) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "times"), [(WIDER, 20), ({"replicas": "2"}, 5)], ids=["alone", "folds in replicas"]
)
def test_killed_at_random_moments(
    tmp_path: Path, cache: Path, settings: dict[str, str], times: int
) -> None:
    finish(start(tmp_path / "first", cache, settings))  # compiles, makes the shards
    begin = time.monotonic()
    finish(start(tmp_path / "whole", cache, settings))
    length = time.monotonic() - begin
    expected = read_results(tmp_path / "whole")
    assert read_results(tmp_path / "first") == expected
    rng, workdir, kills = random.Random(0), tmp_path / "broken", 0
    while kills < times:
        if kill(start(workdir, cache, settings), rng.uniform(0, length / 2)):
            kills += 1
        else:
            assert read_results(workdir) == expected
            shutil.rmtree(workdir)
    finish(start(workdir, cache, settings))
    assert read_results(workdir) == expected


def test_a_second_job_is_rejected_in_one_line(tmp_path: Path, cache: Path) -> None:
    first = start(tmp_path, cache)
    while not (tmp_path / "config.json").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = start(tmp_path, cache)
    _, errors = second.communicate(timeout=120)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    lines = [line for line in errors.splitlines() if line.startswith("mtl_jax:")]
    assert second.returncode == 2 and len(lines) == 1
    assert "another job uses this folder" in lines[0]
