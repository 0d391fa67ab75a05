"""Kill a small job at random times in each phase, rerun it, and compare the results.

    PYTHONPATH=. python tests/kit/killing.py FOLDER [REPEATS] [SEED]

Each repeat begins with an empty cache and work folder, is killed once in each of PHASES, and then
runs to its end. The script prints a line per repeat, and at the end the number of kills per phase.
Jobs are forked from one process that has imported everything, so that they start fast.
"""

import importlib
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

PHASES = ("ingest", "training", "checkpoint", "study", "report")
SETTINGS = (
    "--config=configs/sttl.py",
    "--config.network=C1-C5",
    "--config.folds=2",
    "--config.train.epochs=2",
    "--config.train.batch_size=32",
    "--config.train.checkpoint_minutes=0",
    "--config.statistics.bootstrap=100",
    "--config.analysis.enabled=False",
    "--config.data.phantom.cases=8",
    "--config.data.phantom.test_fraction=0.0",
    "--config.data.sources=('phantom:sfm',)",
)
ROOT = Path(__file__).parents[2]


class Job:
    """The folders of one job."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.workdir = folder / "cache", folder / "work"
        self.log = folder / "log"
        folder.mkdir(parents=True)

    def has(self, pattern: str) -> bool:
        return next(self.workdir.glob(pattern), None) is not None

    def outcome(self) -> dict[str, bytes]:
        """Return the bytes of all files that do not depend on time."""
        names = ("scores.csv", "history.jsonl", "run.json")
        paths = [path for name in names for path in self.workdir.glob(f"runs/*/{name}")]
        paths += [self.workdir / name for name in ("results.json", "folds.json")]
        return {str(path.relative_to(self.workdir)): path.read_bytes() for path in paths}


# Whether the job is in a phase, by its files.
IS_IN: dict[str, Callable[[Job], bool]] = {
    "ingest": lambda job: job.cache.is_dir() and not list(job.cache.glob("sfm-*")),
    "training": lambda job: job.has("runs/*/history.jsonl"),
    "checkpoint": lambda job: job.has("runs/*/checkpoint/.*.partial-*"),
    "study": lambda job: job.has("runs/*/scores.csv"),
    "report": lambda job: job.has("results.json"),
}


def start(job: Job) -> int:
    """Start the job in a process of its own and return the id of the process."""
    child = os.fork()
    if child:
        return child
    log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from absl import app

    from mtl_jax import main

    folders = [f"--workdir={job.workdir}", f"--config.data.cache={job.cache}"]
    sys.argv = ["mtl_jax", *SETTINGS, *folders]  # ml_collections reads it, too
    status = 1
    try:
        app.run(main.main, sys.argv, flags_parser=main.parse_flags)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
    return 0


def finish(job: Job) -> None:
    """Run the job to its end; it must succeed."""
    _, status = os.waitpid(start(job), 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"the job failed:\n{job.log.read_text()[-3000:]}")


def kill(job: Job, phase: str, after: float) -> bool:
    """Kill the job `after` seconds into the phase; return False if it ended before."""
    process, entered = start(job), None
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        if entered is None and IS_IN[phase](job):
            entered = time.monotonic()
        if entered is not None and time.monotonic() >= entered + after:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return True
        time.sleep(0.002)
    return False


def repeat_kills(folder: Path, count: int, seed: int, phases: tuple[str, ...] = PHASES) -> Counter:
    """Return the kills per phase in `count` repeats, each with the results of an unkilled job."""
    prepare(folder)
    finish(first := Job(folder / "first"))  # compiles
    begin = time.monotonic()
    finish(unkilled := Job(folder / "unbroken"))
    duration = time.monotonic() - begin
    expected = unkilled.outcome()
    assert first.outcome() == expected
    rng, kills = random.Random(seed), Counter()
    for repeat in range(count):
        job = Job(folder / f"repeat{repeat}")
        for phase in phases:
            # A checkpoint and the report take a short while, the rest about a quarter each.
            limit = 0.05 if phase in ("checkpoint", "report") else 0.2
            kills[phase] += kill(job, phase, rng.uniform(0, limit * duration))
        finish(job)
        assert job.outcome() == expected, f"repeat {repeat}: other results in {job.workdir}"
        print(
            f"repeat {repeat + 1} of {count}: the same bytes; {kills.total()} kills so far",
            flush=True,
        )
        shutil.rmtree(folder / f"repeat{repeat}")
    return kills


def prepare(folder: Path) -> None:
    """Import what a job imports, so that forked jobs need not; nothing is computed here."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "MTL_JAX_KEY_FILE": str(folder / "key"),
    }
    for name in ("main", "report", "experiments.runner"):
        importlib.import_module(f"mtl_jax.{name}")


if __name__ == "__main__":
    _, root, *numbers = sys.argv
    count, seed = (*map(int, numbers), *(20, 0)[len(numbers) :])
    print(dict(repeat_kills(Path(root).absolute(), count, seed)))
