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

_keeping = False


def keep_freed_memory() -> bool:
    """Keep freed memory in the process for its next allocations, and return whether that is set.

    Call it before JAX starts: threads that already run keep their heaps, and a step would clear as
    many pages as without it. All blocks then come from one heap that never shrinks by itself: the
    process keeps its peak memory, and more if blocks of many sizes fragment the heap.
    Left unchanged are other C libraries, glibc if the environment configures it (MALLOC_...,
    GLIBC_TUNABLES), and processes whose JAX computes on another device than the CPU.
    """
    global _keeping
    configured = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if not configured and environment.computes_on_cpu():
        _keeping = _set((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (ARENA_MAX, 1))
    return _keeping


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


def _set(*settings: tuple[int, int]) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(name, value) for name, value in settings])
