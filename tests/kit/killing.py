"""Kills a small job at random moments of chosen phases, runs it again, and compares what it gives.

    PYTHONPATH=. python tests/kit/killing.py FOLDER [LIVES] [SEED]

A life begins with an empty cache and an empty work folder and is killed once in each of the PHASES;
then it runs to its end. It prints a line a life, and at the end how many kills fell in which phase.
Jobs are forked from one process that has imported everything, so that a start costs little.
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
    "--config.train.checkpoint_epochs=1",
    "--config.statistics.bootstrap=100",
    "--config.analysis.enabled=False",
    "--config.data.phantom.cases=8",
    "--config.data.phantom.test_fraction=0.0",
    "--config.data.sources=('phantom:sfm',)",
)
ROOT = Path(__file__).parents[2]


class Place:
    """Where one life of the job works."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.workdir = folder / "cache", folder / "work"
        self.log = folder / "log"
        folder.mkdir(parents=True)

    def has(self, pattern: str) -> bool:
        return next(self.workdir.glob(pattern), None) is not None

    def outcome(self) -> dict[str, bytes]:
        """The bytes of all that depends on no clock."""
        names = ("scores.csv", "history.jsonl", "run.json")
        found = [path for name in names for path in self.workdir.glob(f"runs/*/{name}")]
        found += [self.workdir / name for name in ("results.json", "folds.json")]
        return {str(path.relative_to(self.workdir)): path.read_bytes() for path in found}


# Whether the job is in the phase now; files alone tell.
IN: dict[str, Callable[[Place], bool]] = {
    "ingest": lambda p: p.cache.is_dir() and not list(p.cache.glob("sfm-*")),
    "training": lambda p: p.has("runs/*/history.jsonl"),
    "checkpoint": lambda p: p.has("runs/*/checkpoint/.*.partial-*"),
    "study": lambda p: p.has("runs/*/scores.csv"),
    "report": lambda p: p.has("results.json"),
}


def start(place: Place) -> int:
    """The job in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from absl import app

    from mtl_jax import main

    where = [f"--workdir={place.workdir}", f"--config.data.cache={place.cache}"]
    sys.argv = ["mtl_jax", *SETTINGS, *where]  # where ml_collections, too, looks for fields
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


def finish(place: Place) -> None:
    """Runs the job to its end, which must be a good one."""
    _, status = os.waitpid(start(place), 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"the job failed:\n{place.log.read_text()[-3000:]}")


def kill(place: Place, phase: str, after: float) -> bool:
    """Kills the job `after` seconds into the phase; False where it ended before."""
    job, entered = start(place), None
    while os.waitpid(job, os.WNOHANG)[0] == 0:
        if entered is None and IN[phase](place):
            entered = time.monotonic()
        if entered is not None and time.monotonic() >= entered + after:
            os.kill(job, signal.SIGKILL)
            os.waitpid(job, 0)
            return True
        time.sleep(0.002)
    return False


def lives(folder: Path, count: int, seed: int, phases: tuple[str, ...] = PHASES) -> Counter:
    """How many kills fell in each phase, over `count` lives that each gave the unbroken bytes."""
    prepare(folder)
    finish(first := Place(folder / "first"))  # compiles
    begin = time.monotonic()
    finish(unbroken := Place(folder / "unbroken"))
    length = time.monotonic() - begin
    expected = unbroken.outcome()
    assert first.outcome() == expected
    rng, kills = random.Random(seed), Counter()
    for life in range(count):
        place = Place(folder / f"life{life}")
        for phase in phases:
            # A checkpoint and the report take a short while, the rest about a quarter each.
            limit = 0.05 if phase in ("checkpoint", "report") else 0.2
            kills[phase] += kill(place, phase, rng.uniform(0, limit * length))
        finish(place)
        assert place.outcome() == expected, f"life {life} gave other bytes, in {place.workdir}"
        print(
            f"life {life + 1} of {count}: the same bytes; {kills.total()} kills so far", flush=True
        )
        shutil.rmtree(folder / f"life{life}")
    return kills


def prepare(folder: Path) -> None:
    """Imports what a job imports, so that forked jobs need not; nothing is computed here."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "MTL_JAX_KEY_FILE": str(folder / "key"),
    }
    for name in ("main", "report", "study.conduct"):
        importlib.import_module(f"mtl_jax.{name}")


if __name__ == "__main__":
    _, where, *numbers = sys.argv
    given = [int(n) for n in numbers]
    print(dict(lives(Path(where).absolute(), given[0] if given else 20, *given[1:2] or [0])))
