"""Ends a job that is asked to stop (SIGTERM, Ctrl-C) at a moment when nothing is lost."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType


class Stopped(BaseException):
    """The job was asked to stop by this signal. No Exception: nothing on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


_deferring = False
_signal: int | None = None


def install_handlers() -> None:
    """From now on either signal raises Stopped: at once, or at the end of a `defer` block."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _handle)


@contextlib.contextmanager
def defer(agreed: Callable[[int], int] = int) -> Iterator[Callable[[], bool]]:
    """Yield a block that a first signal does not interrupt, and a second one does; what it yields
    tells whether the job was asked to stop.

    `agreed` makes of the signal that this process was asked with, or 0, the one that counts.
    """
    global _deferring

    def stopping() -> bool:
        global _signal
        found = agreed(_signal or 0)
        if found:  # else leave it: a signal may have come meanwhile
            _signal = found
        return bool(found)

    before, _deferring = _deferring, True
    try:
        yield stopping
    finally:
        _deferring = before
    if _signal is not None:
        raise Stopped(_signal)


def _handle(number: int, _: FrameType | None) -> None:
    global _signal
    again, _signal = _signal is not None, number
    if again or not _deferring:
        raise Stopped(number)
    print("mtl_jax: stopping when this epoch is done; once more: at once", file=sys.stderr)
