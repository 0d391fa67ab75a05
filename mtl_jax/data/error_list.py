"""Several faults of the user's files in one message."""

from collections.abc import Sequence

SHOWN = 10


def listed(faults: Sequence[str]) -> str:
    """Return the first ten, numbered where there are several, and how many more there are; in one
    line."""
    if len(faults) == 1:
        return faults[0]
    more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "; ".join([*(f"({n}) {fault}" for n, fault in enumerate(faults[:SHOWN], 1)), *more])
