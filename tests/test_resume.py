"""An interrupted study that is run again gives bit-identical results."""

import random
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
from kit.main_here import run_main
from study_command import arguments, finish, read_results
from study_command import start as start_study

TWO_APPROACHES = {
    "approaches": "('mttl','sttl')",
    "data.sources": "('phantom:sfm','phantom:dm')",
    "splits.count": "2",
    "depth.networks": "('C1-C4','C1-C5')",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


start = partial(start_study, small_head=True)


def kill(job: subprocess.Popen, after: float) -> bool:
    """Kill `job` after `after` seconds; return False if it has already finished."""
    try:
        job.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        job.send_signal(signal.SIGKILL)
        job.communicate()
        return True
    assert job.returncode == 0
    return False


def run_here(workdir: Path, cache: Path) -> str:
    """Run the study in this process and return its standard output."""
    ended = run_main(arguments(workdir, cache, small_head=True))
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow  # test_study_api.py and test_training.py have quick ones
def test_study_stopped_during_two_runs_resumes_bit_identically(tmp_path: Path, cache: Path) -> None:
    output = run_here(tmp_path / "uninterrupted", cache)
    assert "splits: 0 of 2 runs already finished" in output and "depth: 2 of 2 runs" in output
    expected = read_results(tmp_path / "uninterrupted")
    workdir = tmp_path / "interrupted"
    for run, stop_signal in (
        ("sttl-C1-C5-split1-fold2-seed0", signal.SIGTERM),
        ("sttl-C1-C5-test-seed0", signal.SIGKILL),  # leaves a stale lock
    ):
        job = start(workdir, cache)
        history = workdir / "runs" / run / "history.jsonl"
        while not (history.exists() and history.stat().st_size):
            assert job.poll() is None, job.communicate()
            time.sleep(0.02)
        job.send_signal(stop_signal)
        _, errors = job.communicate()
        assert not (workdir / "results.json").exists()
        if stop_signal != signal.SIGKILL:
            assert job.returncode == 128 + stop_signal, errors
            assert f"stopped by {stop_signal.name}; rerun the same command to resume" in errors
            assert "Traceback" not in errors
            assert list((workdir / "runs" / run / "checkpoint").glob("[0-9]"))
    assert "splits: 2 of 2 runs already finished" in run_here(workdir, cache)
    assert read_results(workdir) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "n_kills"),
    [(TWO_APPROACHES, 20), ({"replicas": "2"}, 5)],
    ids=["single runs", "replicas"],
)
def test_study_killed_at_random_times_resumes_bit_identically(
    tmp_path: Path, cache: Path, settings: dict[str, str], n_kills: int
) -> None:
    finish(start(tmp_path / "first", cache, settings))  # compile and make the shards before timing
    begin = time.monotonic()
    finish(start(tmp_path / "uninterrupted", cache, settings))
    duration = time.monotonic() - begin
    expected = read_results(tmp_path / "uninterrupted")
    assert read_results(tmp_path / "first") == expected
    rng, workdir, kills = random.Random(0), tmp_path / "interrupted", 0
    while kills < n_kills:
        if kill(start(workdir, cache, settings), rng.uniform(0, duration / 2)):
            kills += 1
        else:
            assert read_results(workdir) == expected
            shutil.rmtree(workdir)
    finish(start(workdir, cache, settings))
    assert read_results(workdir) == expected


def test_second_job_in_a_work_folder_is_rejected(tmp_path: Path, cache: Path) -> None:
    first = start(tmp_path, cache)
    while not (tmp_path / "config.json").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    second = run_main(arguments(tmp_path, cache, small_head=True))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    lines = [line for line in second.stderr.splitlines() if line.startswith("mtl_jax:")]
    assert second.returncode == 2 and len(lines) == 1
    assert "another job uses this folder" in lines[0]
