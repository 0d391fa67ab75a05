"""Memory that a training step gives back stays with the process for the next one.

The C library of Linux asks the system for large blocks anew each time, and the system clears every
page of them: up to a quarter of the processor's time of a step on a CPU (docs/benchmarks.md).
"""

import ctypes
import os

# Constants of malloc.h of the GNU C library, and its defaults.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
NEVER = 2**31 - 1
USUAL = ((MMAP_MAX, 65536), (TRIM_THRESHOLD, 128 * 1024))

_kept = False


def keep_freed_memory() -> bool:
    """Make it so, for threads that do not run yet, and says whether it did.

    All blocks then come from one heap that never shrinks by itself: the process holds on to the
    most it ever had, and to more where blocks of many sizes lie badly. Other C libraries are left
    as they are, and so is one that the environment gives settings (MALLOC_..., GLIBC_TUNABLES).
    """
    global _kept
    user_sets = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if not user_sets:
        _kept = _set((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (ARENA_MAX, 1))
    return _kept


def release_freed_memory() -> None:
    """Undoes `keep_freed_memory`, where memory matters more than time."""
    global _kept
    if _kept:
        _set(*USUAL)
        _kept = False
    trim()


def trim() -> None:
    """Give the system what is free now, for once: between trainings, since the next one takes
    blocks of other sizes and what lies free between the old ones would add up, and after work that
    took much for a moment."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set(*settings: tuple[int, int]) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(name, value) for name, value in settings])
