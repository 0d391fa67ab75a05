"""Stop a job on SIGTERM or Ctrl-C at a point where no finished work is lost."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Stopped(BaseException):
    """Raised when a signal stops the job. A BaseException, so that no handler of Exception
    swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


_deferring = False
_signal: int | None = None


def install_handlers() -> None:
    """Handle SIGTERM and SIGINT: raise Stopped at once, or at the end of a `defer` block."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _handle)


@contextlib.contextmanager
def handle_interrupt() -> Iterator[None]:
    """Handle SIGINT in the block as `install_handlers` does, but raise KeyboardInterrupt.

    Afterwards the caller's handler is back. Only the main thread can change handlers: in another
    one, the block runs without.
    """
    global _signal
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _handle)
    try:
        yield
    except Stopped as stopped:
        raise KeyboardInterrupt(f"{stopped}; call again to resume") from stopped
    finally:
        _signal = None
        # None: a handler that was not installed from Python
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def defer(agreed: Callable[[int], int] = int) -> Iterator[Callable[[], bool]]:
    """Defer the first signal to the end of the block; a second signal stops at once.

    Yields a function that returns whether the job should stop. `agreed` maps the signal that this
    process received, or 0, to the one that all processes of the job agree on.
    """
    global _deferring

    def stopping() -> bool:
        global _signal
        number = agreed(_signal or 0)
        if number:  # otherwise keep it: a signal may have arrived meanwhile
            _signal = number
        return bool(number)

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
    print(
        "mtl_jax: stopping at the end of this epoch; signal again to stop at once", file=sys.stderr
    )
