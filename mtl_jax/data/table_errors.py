"""Report all errors in the rows of one table in one message."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mtl_jax.types import InputError

MAX_ERRORS = 10  # that a message lists
Value = TypeVar("Value")


class TableErrors:
    """Collects the errors in a table's rows, so that the user can correct them all at once.

    Read each row within `collect`, and call `check` after the last one. Do not use an invalid row
    in later comparisons between rows: its error would be listed twice.
    """

    def __init__(self, table: Path) -> None:
        self._table = table
        self._errors: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._errors)

    @contextlib.contextmanager
    def collect(self, where: str) -> Iterator[None]:
        """Collect an InputError that the block raises for the row at `where` ('TABLE line 7')."""
        try:
            yield
        except InputError as error:
            self.add(where, str(error))

    def add(self, where: str, message: str) -> None:
        """Add an error of the row at `where`; the message is prefixed with `where` if it is not."""
        if not message.startswith(where):
            message = f"{where}: {message}"
        number = where.rpartition(" ")[2]
        self._errors.append((int(number) if number.isdecimal() else 0, message))

    def messages(self) -> list[str]:
        """Return all errors by line, without the name of the table if there are several."""
        messages = [message for _, message in sorted(self._errors, key=lambda error: error[0])]
        if len(messages) == 1:
            return messages
        return [message.removeprefix(f"{self._table} ") for message in messages]

    def check(self) -> None:
        """Raise one InputError if there are errors: their number and the first of them by line."""
        if not self._errors:
            return
        short = self.messages()
        if len(short) == 1:
            raise InputError(short[0])
        raise InputError(f"{self._table}: {len(short)} errors: {join_errors(short)}")


class RowErrors:
    """Collects the errors in one row, so that the user can correct them all at once."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._messages: list[str] = []

    def read(self, parse: Callable[..., Value], *arguments: Any) -> Value | None:
        """Return `parse(*arguments)`, or collect its InputError and return None."""
        try:
            return parse(*arguments)
        except InputError as error:
            self._messages.append(str(error).removeprefix(f"{self._where}: "))
            return None

    def check(self) -> None:
        """Raise one InputError with all errors, if there are any."""
        if self._messages:
            raise InputError(f"{self._where}: {'; '.join(self._messages)}")


def join_errors(errors: Sequence[str]) -> str:
    """Return a line with the first `MAX_ERRORS` errors, numbered, and how many more there are."""
    if len(errors) == 1:
        return errors[0]
    more = [f"and {len(errors) - MAX_ERRORS} more"] if len(errors) > MAX_ERRORS else []
    numbered = [f"({n}) {error}" for n, error in enumerate(errors[:MAX_ERRORS], 1)]
    return "; ".join([*numbered, *more])
