"""Run a command: one line for invalid input, and no error when the output is closed."""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from mtl_jax.types import InputError


class Output:
    """A text stream that tolerates a closed pipe, as by `| head`, by dropping further output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _drop(self, error: OSError) -> None:
        """Redirect the stream to the null device; raise InputError unless the pipe was closed."""
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self._stream.fileno())
        os.close(devnull)
        if error.errno != errno.EPIPE:
            raise InputError(f"the output cannot be written ({error.strerror})") from error


def protect_output() -> None:
    """Let standard output and error survive closed pipes, and escape what they cannot encode."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Output):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Output(stream))


def program(name: str) -> str:
    """Return the command of `mtl-jax` that was called, else `name`: the start of a usage line."""
    return sys.argv[0] if sys.argv[0].startswith("mtl-jax ") else name


def run(main: Callable[[], int | None]) -> int:
    """Run `main` and return its exit code: 2, and one line on stderr, if it raises InputError."""
    protect_output()
    try:
        status = main() or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except InputError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return status
