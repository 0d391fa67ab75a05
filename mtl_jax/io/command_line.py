"""What all commands have in common: one line for invalid input, and output that may be closed."""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from mtl_jax.types import InputError


class Output:
    """A text stream that outlives its reader: after `| head` the rest is dropped, without a word,
    and the command goes on to write its files."""

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
        """Send what is still buffered, and all that follows, nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if error.errno != errno.EPIPE:
            raise InputError(f"the output cannot be written ({error.strerror})") from error


def protect_output() -> None:
    """From now on a closed pipe behind standard output or error raises nothing, and a character
    that the terminal's encoding lacks is written as an escape such as \\xfc."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, Output):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Output(stream))


def run(main: Callable[[], int | None]) -> int:
    """Return the exit code of the command `main`: 2, after one line, where it raises InputError."""
    protect_output()
    try:
        status = main() or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except InputError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return status
