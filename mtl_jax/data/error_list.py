"""Several faults of the user's files in one message."""

from collections.abc import Sequence

MAX_ERRORS = 10


def join_errors(faults: Sequence[str]) -> str:
    """Return the first ten, numbered where there are several, and how many more there are; in one
    line."""
    if len(faults) == 1:
        return faults[0]
    more = [f"and {len(faults) - MAX_ERRORS} more"] if len(faults) > MAX_ERRORS else []
    return "; ".join([*(f"({n}) {fault}" for n, fault in enumerate(faults[:MAX_ERRORS], 1)), *more])
