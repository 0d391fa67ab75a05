"""Start a small study as a command, for tests that interrupt or distribute it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
MAIN = (sys.executable, "-m", "mtl_jax.main")
TINY = {
    "approaches": "('sttl',)",
    "folds": "2",
    "splits.count": "1",
    "splits.networks": "('C1-C5',)",
    "splits.initializations": "1",
    "depth.networks": "('C1-C5',)",
    "depth.initializations": "1",
    "train.epochs": "2",
    "train.batch_size": "32",
    "train.checkpoint_minutes": "0",
    "statistics.bootstrap": "100",
    "analysis.enabled": "False",
    "data.phantom.cases": "12",
    "data.phantom.target_cases": "12",
    "data.phantom.test_fraction": "0.6",
    "data.sources": "('phantom:sfm',)",
}


def arguments(
    workdir: Path,
    cache: Path,
    changes: Mapping[str, str] = MappingProxyType({}),
    job: str = "paper",
    small_head: bool = False,
) -> list[str]:
    """Return the arguments of the study; `changes` are settings that differ from TINY.

    With `small_head`, AlexNet has few fully connected nodes, which the workers of Ray do not know.
    """
    settings = {**TINY, **changes, "data.cache": str(cache)}
    config = f"tests/kit/small_study.py:{job}" if small_head else f"configs/{job}.py:demo"
    flags = [f"--config.{field}={value}" for field, value in settings.items()]
    return [f"--config={ROOT}/{config}", f"--workdir={workdir}", *flags]


def start(
    workdir: Path,
    cache: Path,
    changes: Mapping[str, str] = MappingProxyType({}),
    job: str = "paper",
    environment: Mapping[str, str] = MappingProxyType({}),
    small_head: bool = False,
) -> subprocess.Popen:
    """Start the study in a new process, with the arguments of `arguments`."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mtl_jax.main",
            *arguments(workdir, cache, changes, job, small_head),
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen) -> str:
    """Wait for the job to end without error and return its standard output."""
    output, errors = job.communicate(timeout=1200)
    assert job.returncode == 0, errors
    return output


def read_results(workdir: Path) -> dict[str, bytes]:
    """Return the content of the files of a study that do not contain times or paths."""
    paths = [*workdir.glob("runs/*/scores.csv"), *workdir.glob("runs/*/history.jsonl")]
    paths += [*workdir.glob("runs/*/run.json"), workdir / "results.json", workdir / "folds.json"]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}
