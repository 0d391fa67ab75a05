"""What a process gives back it keeps, where the C library lets it."""

import os
import platform
import subprocess
import sys

import pytest

# 64 MB taken, written to and given back five times, by a thread that is not the first.
PAGES = """
import ctypes, resource, sys, threading
from mtl_jax import heap
kept = sys.argv[1] != "leave" and heap.keep()
if sys.argv[1] == "let go":
    heap.let_go()
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
from mtl_jax import heap
def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1e3
pieces = [np.ones(10**5, np.uint8) for _ in range(600)]
del pieces[:-1]
before = resident()
heap.trim()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_free_is_given_back_when_asked() -> None:
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True)
    assert 50 < float(done.stdout) < 70, done.stderr
