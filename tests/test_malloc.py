"""What a process gives back it keeps, where the C library lets it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_jax import config
from mtl_jax.data.array_rows import Rows
from mtl_jax.experiments import train_runs
from mtl_jax.training.dataset import Dataset
from mtl_jax.types import Run
from mtl_jax.weights import Weights

# 64 MB taken, written to and given back five times, by a thread that is not the first.
PAGES = """
import ctypes, resource, sys, threading
from mtl_jax.training import malloc
kept = sys.argv[1] != "leave" and malloc.keep_freed_memory()
if sys.argv[1] == "let go":
    malloc.release_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
SIZE = 64 * 2**20

def once():
    block = libc.malloc(ctypes.c_size_t(SIZE))
    ctypes.memset(block, 1, SIZE)
    libc.free(block)

def work():
    once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        once()
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(kept, pages * resource.getpagesize() / SIZE)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def blocks_cleared(how: str, **environment: str) -> tuple[str, float]:
    """What `keep` said, and how many times the system cleared the block, of five."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PAGES, how]
    ended = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, timeout=60, check=True
    )
    kept, times = ended.stdout.split()
    return kept, float(times)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than GNU's")
def test_a_block_that_was_given_back_is_not_cleared_again() -> None:
    kept, times = blocks_cleared("keep")
    assert kept == "True" and times < 0.1
    assert blocks_cleared("leave")[1] > 4
    assert blocks_cleared("let go")[1] > 4


def test_settings_of_the_environment_stand() -> None:
    assert blocks_cleared("keep", MALLOC_ARENA_MAX="2")[0] == "False"


# 60 MB in pieces too small for the system to take them one by one, all but the last given back.
PIECES = """
from pathlib import Path
import numpy as np
from mtl_jax.training import malloc
def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1e3
pieces = [np.ones(10**5, np.uint8) for _ in range(600)]
del pieces[:-1]
before = resident()
malloc.trim()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_free_is_given_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True)
    assert 50 < float(done.stdout) < 70, done.stderr


# A job that ends at once, and what it has set by then.
JOB = """
import atexit, runpy, sys
from mtl_jax.training import malloc
atexit.register(lambda: print(malloc._keeping))
runpy.run_module("mtl_jax.main", run_name="__main__")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_job_keeps_what_it_gives_back(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    flags = ["--config=configs/mttl.py", f"--workdir={tmp_path}"]
    nothing = f"--config.data.sources=('manifest:{tmp_path}/none.csv',)"
    command = [sys.executable, "-c", JOB, *flags, nothing]
    root = Path(__file__).parents[1]
    ended = subprocess.run(command, env=clean, cwd=root, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stdout.split()[-1] == "True", ended.stderr


def test_a_run_of_rois_on_disk_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is trained."""
    done: list[str] = []
    on_disk = Dataset(Rows([np.zeros((1, 128, 128), np.int16)]), *[np.zeros(1, int)] * 5)
    monkeypatch.setattr(train_runs.run_data, "subsets", lambda *_: {})
    monkeypatch.setattr(train_runs.run_data, "learned_by", lambda *_: (on_disk, {}))
    monkeypatch.setattr(train_runs.malloc, "release_freed_memory", lambda: done.append("let go"))
    monkeypatch.setattr(
        train_runs.registry, "build", lambda *_, **__: done.append("build") or 1 / 0
    )
    run = Run("sttl", ("a",), "C0", None, 0)
    with pytest.raises(ZeroDivisionError):
        weights = Weights(
            {}, {"name": "made up", "backbone": "alexnet", "lrn": False, "arrays_sha256": ""}
        )
        train_runs.execute([run], [], {}, None, weights, config.default())
    assert done == ["let go", "build"]
