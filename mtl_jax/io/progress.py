"""Progress of long work: bars on a terminal, plain lines in a log file."""

import contextlib
import enum
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

REDRAW_SECONDS = 1.0  # between two redraws of a bar, also while nothing is completed
LINE_SECONDS = 30.0  # shortest time between two lines of one bar in a log file


class Lines(enum.Enum):
    """When a bar writes a line to a log file, at most every LINE_SECONDS."""

    ON_UPDATE = enum.auto()
    ON_NOTE = enum.auto()
    NEVER = enum.auto()


def is_terminal() -> bool:
    """Return whether standard error is a terminal that can redraw a line."""
    stream = sys.stderr
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class Bar:
    """The completed part of some work: a context manager that shows it on standard error.

    On a terminal, a bar that a thread redraws every second; the thread ends with the block,
    whatever ends the block. In a log file, plain lines.

    Parameters
    ----------
    label
        What is done, such as the name of a run.
    total
        The amount of work, in units of `unit` (a singular noun); None: unknown.
    completed
        The amount that earlier work has completed. It does not count as speed.
    lines
        When a log file gets a line.
    bar_format
        The format of the bar, as of tqdm; None: that of tqdm.
    clock
        The time in seconds, for the lines.
    """

    def __init__(
        self,
        label: str,
        total: float | None,
        unit: str,
        completed: float = 0,
        lines: Lines = Lines.ON_UPDATE,
        bar_format: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label, self.total, self.unit, self.completed = label, total, unit, completed
        self._lines, self._clock = lines, clock
        self._note, self._last_line = "", clock()
        self._exit = contextlib.ExitStack()
        self._bar: tqdm | None = None
        if is_terminal():
            self._bar = tqdm(
                total=total,
                initial=completed,
                desc=label,
                unit=unit,
                unit_scale=unit == "byte",
                bar_format=bar_format,
                dynamic_ncols=True,
                leave=False,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._exit.callback(self._bar.close)
            self._exit.enter_context(_repeat(self._bar.refresh, REDRAW_SECONDS))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit.close()

    def update(self, amount: float = 1) -> None:
        """Count `amount` more as completed."""
        self.completed += amount
        if self._bar is not None:
            self._bar.update(amount)
        elif self._lines is Lines.ON_UPDATE:
            self._write_line()

    def note(self, text: str) -> None:
        """Show `text` behind the numbers."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
        elif self._lines is Lines.ON_NOTE:
            self._write_line()

    def set(self, completed: float, total: float) -> None:
        """Set the completed and the total amount; what earlier work completed is no speed."""
        if self._bar is not None:
            self._bar.initial += completed - self.completed
            self._bar.n, self._bar.total = completed, total
        self.completed, self.total = completed, total

    def _write_line(self) -> None:
        """Write a line, unless the last one is recent or the work is complete."""
        now = self._clock()
        if now - self._last_line < LINE_SECONDS or self.completed == self.total:
            return
        self._last_line = now
        of = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.label}: {self.completed:,}{of} {self.unit}s", self._note]
        write_line(", ".join(filter(None, parts)), sys.stderr)


def write_line(line: str, stream: TextIO) -> None:
    """Write a line, above the bars if they are on a terminal."""
    if is_terminal():
        tqdm.write(line, file=stream)
    else:
        print(line, file=stream, flush=True)


@contextlib.contextmanager
def _repeat(action: Callable[[], object], seconds: float) -> Iterator[None]:
    """Call `action` every `seconds` in a thread until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
