"""A whole study made tiny, as a command, for the tests that stop it or spread it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
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
    "train.checkpoint_epochs": "1",
    "statistics.bootstrap": "100",
    "analysis.enabled": "False",
    "data.phantom.cases": "12",
    "data.sources": "('phantom:sfm',)",
}


def start(
    workdir: Path,
    cache: Path,
    other: Mapping[str, str] = MappingProxyType({}),
    job: str = "paper",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen:
    """The study in a process of its own, with other settings than TINY; programs once compiled are
    kept beside the cache."""
    settings = {**TINY, **other, "data.cache": str(cache)}
    flags = [f"--config.{field}={value}" for field, value in settings.items()]
    where = (f"--config=configs/{job}.py:demo", f"--workdir={workdir}")
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(cache / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "mtl_jax.main", *where, *flags],
        cwd=ROOT,
        env={**os.environ, **compiled, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen) -> str:
    """Waits for its end, which must be a good one; returns what it printed."""
    out, errors = job.communicate(timeout=1200)
    assert job.returncode == 0, errors
    return out


def outcome(workdir: Path) -> dict[str, bytes]:
    """The bytes of all that a study gives, but for times and places."""
    found = [*workdir.glob("runs/*/scores.csv"), *workdir.glob("runs/*/history.jsonl")]
    found += [*workdir.glob("runs/*/run.json"), workdir / "results.json", workdir / "folds.json"]
    return {str(path.relative_to(workdir)): path.read_bytes() for path in found}
