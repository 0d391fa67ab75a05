"""Join several errors in the user's files into one message."""

from collections.abc import Sequence

MAX_ERRORS = 10


def join_errors(errors: Sequence[str]) -> str:
    """Return a line with the first `MAX_ERRORS` errors, numbered, and how many more there are."""
    if len(errors) == 1:
        return errors[0]
    more = [f"and {len(errors) - MAX_ERRORS} more"] if len(errors) > MAX_ERRORS else []
    numbered = [f"({n}) {error}" for n, error in enumerate(errors[:MAX_ERRORS], 1)]
    return "; ".join([*numbered, *more])
