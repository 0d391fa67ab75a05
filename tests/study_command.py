"""A whole study made tiny, as a command, for the tests that stop it or spread it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = (
    "--config=configs/paper.py",
    "--config.approaches=('sttl',)",
    "--config.folds=2",
    "--config.splits.count=1",
    "--config.splits.networks=('C1-C5',)",
    "--config.splits.initializations=1",
    "--config.depth.networks=('C1-C5',)",
    "--config.depth.initializations=1",
    "--config.train.epochs=2",
    "--config.train.batch_size=32",
    "--config.train.checkpoint_epochs=1",
    "--config.statistics.bootstrap=100",
    "--config.analysis.enabled=False",
    "--config.data.phantom.cases=12",
    "--config.data.sources=('phantom:sfm',)",
)


def start(workdir: Path, cache: Path, *extra: str) -> subprocess.Popen:
    """The study in a process of its own; programs once compiled are kept beside the cache."""
    where = (f"--workdir={workdir}", f"--config.data.cache={cache}")
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(cache / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "mtl_jax.main", *TINY, *where, *extra],
        cwd=ROOT,
        env=os.environ | compiled,
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
