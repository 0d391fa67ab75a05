"""Several faults of the user's files in one message. Finds no fault itself."""

from collections.abc import Sequence

SHOWN = 10


def listed(faults: Sequence[str]) -> str:
    """The first ten, a line each where there are several, and how many more there are.

    Each line but the last ends in a semicolon, so that they stay apart where a caller joins lines.
    """
    if len(faults) == 1:
        return faults[0]
    more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
    return "\n  " + ";\n  ".join([*faults[:SHOWN], *more])
