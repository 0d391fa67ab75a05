"""Keeping and releasing freed memory with glibc malloc."""

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

# Allocate, write and free 64 MB five times, in a thread that is not the main thread.
PAGES = """
import ctypes, resource, sys, threading
from mtl_jax.training import malloc
keeping = sys.argv[1] != "leave" and malloc.keep_freed_memory()
if sys.argv[1] == "release":
    malloc.release_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
SIZE = 64 * 2**20

def allocate():
    block = libc.malloc(ctypes.c_size_t(SIZE))
    ctypes.memset(block, 1, SIZE)
    libc.free(block)

def work():
    allocate()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        allocate()
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(keeping, pages * resource.getpagesize() / SIZE)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def count_cleared_blocks(mode: str, **environment: str) -> tuple[str, float]:
    """Return whether freed memory is kept, and how many times of five the block was cleared."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PAGES, mode]
    process = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, timeout=60, check=True
    )
    keeping, times = process.stdout.split()
    return keeping, float(times)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_a_freed_block_is_not_cleared_again() -> None:
    keeping, times = count_cleared_blocks("keep")
    assert keeping == "True" and times < 0.1
    assert count_cleared_blocks("leave")[1] > 4
    assert count_cleared_blocks("release")[1] > 4


def test_settings_of_the_environment_take_precedence() -> None:
    assert count_cleared_blocks("keep", MALLOC_ARENA_MAX="2")[0] == "False"


def test_another_device_than_the_cpu_leaves_malloc_unchanged() -> None:
    assert count_cleared_blocks("keep", JAX_PLATFORMS="cuda")[0] == "False"
    assert count_cleared_blocks("keep", JAX_PLATFORMS="cpu")[0] == "True"


# Allocate 60 MB in pieces too small to be mapped one by one, and free all but the last.
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_trim_returns_free_memory_to_the_system() -> None:
    process = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True)
    assert 50 < float(process.stdout) < 70, process.stderr


# A job that ends at once, and prints whether it keeps freed memory.
JOB = """
import atexit, runpy, sys
from mtl_jax.training import malloc
atexit.register(lambda: print(malloc._keeping))
runpy.run_module("mtl_jax.main", run_name="__main__")
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_a_job_keeps_freed_memory(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    flags = ["--config=configs/mttl.py", f"--workdir={tmp_path}"]
    sources = f"--config.data.sources=('manifest:{tmp_path}/none.csv',)"
    command = [sys.executable, "-c", JOB, *flags, sources]
    root = Path(__file__).parents[1]
    process = subprocess.run(command, env=clean, cwd=root, capture_output=True, text=True)
    assert process.returncode == 2 and process.stdout.split()[-1] == "True", process.stderr


def test_a_run_with_rois_on_disk_releases_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release it before the network is built."""
    calls: list[str] = []
    on_disk = Dataset(Rows([np.zeros((1, 128, 128), np.int16)]), *[np.zeros(1, int)] * 7)
    monkeypatch.setattr(train_runs.run_data, "make_subsets", lambda *_: {})
    monkeypatch.setattr(train_runs.run_data, "training_dataset", lambda *_: (on_disk, {}))
    monkeypatch.setattr(train_runs.malloc, "release_freed_memory", lambda: calls.append("release"))
    monkeypatch.setattr(
        train_runs.registry, "build", lambda *_, **__: calls.append("build") or 1 / 0
    )
    run = Run("sttl", ("a",), "C0", None, 0)
    with pytest.raises(ZeroDivisionError):
        weights = Weights(
            {}, {"name": "made up", "backbone": "alexnet", "lrn": False, "arrays_sha256": ""}
        )
        train_runs.train_and_score([run], [], {}, None, {"sttl": weights}, config.default())
    assert calls == ["release", "build"]


def test_no_import_starts_a_backend_of_jax() -> None:
    """Its threads would start before `keep_freed_memory`, which then has no effect on them: steps
    with C1-C5 frozen were a quarter slower. With an unknown platform a start would fail."""
    root = Path(__file__).parents[1]
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in sorted((root / "mtl_jax").rglob("*.py"))
        if path.stem not in ("__main__", "ray_cluster")
    ]
    names = [*modules, "bench_step"]
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    environment = os.environ | {"JAX_PLATFORMS": "none_such", "PYTHONPATH": f"{root}:{root}/tools"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root)
