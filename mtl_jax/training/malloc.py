"""Tune glibc malloc to keep or release freed memory.

By default glibc requests large blocks from the system anew each time, and the system clears every
page of them: up to a quarter of the processor time of a training step on a CPU
(docs/benchmarks.md).
"""

import ctypes
import os

from mtl_jax import environment

# Parameters of mallopt (malloc.h of glibc), and their default values.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
NEVER = 2**31 - 1
DEFAULTS = ((MMAP_MAX, 65536), (TRIM_THRESHOLD, 128 * 1024))
ONE_HEAP = ("MALLOC_ARENA_MAX", "1")  # the variable for ARENA_MAX, which glibc reads at its start

_keeping = False


def keep_freed_memory() -> bool:
    """Keep freed memory in the process for its next allocations, and return whether that is set.

    Call it before JAX starts: threads that already run keep their heaps, and a step would clear as
    many pages as without it. All blocks then come from one heap that never shrinks by itself: the
    process keeps its peak memory, and more if blocks of many sizes fragment the heap.
    Left unchanged are other C libraries, glibc if the environment configures it otherwise
    (MALLOC_..., GLIBC_TUNABLES), and processes whose JAX computes on another device than the CPU.
    """
    global _keeping
    if not _is_configured() and environment.computes_on_cpu():
        _keeping = _set((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (ARENA_MAX, 1))
    return _keeping


def worker_variables() -> dict[str, str]:
    """Return the variables of a process that starts threads before it can `keep_freed_memory`.

    These threads, such as those of a worker of Ray, would have heaps of their own, which JAX would
    share. It returns {} if the environment configures glibc.
    """
    return {} if _is_configured() else dict((ONE_HEAP,))


def release_freed_memory() -> None:
    """Undo `keep_freed_memory`, where memory is scarce."""
    global _keeping
    if _keeping:
        _set(*DEFAULTS)
        _keeping = False
    trim()


def trim() -> None:
    """Return the memory that is free now to the system, after work with large temporary arrays.

    Between training runs, blocks of different sizes would fragment the heap.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _is_configured() -> bool:
    """Return whether the environment configures glibc otherwise than `worker_variables`."""
    return any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"
        for name, value in os.environ.items()
        if (name, value) != ONE_HEAP
    )


def _set(*settings: tuple[int, int]) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(name, value) for name, value in settings])
