"""Report all errors in the rows of one table in one message."""

import contextlib
import re
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
        self._row = re.compile(rf"{re.escape(str(table))} (line|row) (\d+): (.*)", re.DOTALL)

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

    def grouped(self) -> list[str]:
        """Return all errors without the name of the table, each that several rows have once.

        The errors of the table are first, those of several rows next, with the lines of the rows,
        and the other ones by row.
        """
        of_table: list[str] = []
        lines: dict[tuple[str, str], list[int]] = {}
        for _, message in self._errors:
            if match := self._row.fullmatch(message):
                lines.setdefault((match[1], match[3]), []).append(int(match[2]))
            else:
                of_table.append(message.removeprefix(f"{self._table}: "))
        shared: list[str] = []
        of_row: dict[tuple[int, str], list[str]] = {}
        for (unit, message), numbers in lines.items():
            if len(distinct := sorted(set(numbers))) > 1:
                shared.append(f"{_describe_lines(distinct, unit)}: {message}")
            else:
                of_row.setdefault((distinct[0], unit), []).append(message)
        rows = [f"{unit} {n}: {'; '.join(parts)}" for (n, unit), parts in sorted(of_row.items())]
        return [*of_table, *shared, *rows]

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


def _describe_lines(lines: Sequence[int], unit: str) -> str:
    """Return '24 rows (lines 2-20, 22 and 4 more)' of line numbers in order."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][-1] + 1:
            ranges[-1].append(line)
        else:
            ranges.append([line])
    shown = [f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in ranges[:MAX_ERRORS]]
    others = sum(map(len, ranges[MAX_ERRORS:]))
    more = f" and {others} more" if others else ""
    return f"{len(lines)} rows ({unit}s {', '.join(shown)}{more})"


def join_errors(errors: Sequence[str]) -> str:
    """Return a line with the first `MAX_ERRORS` errors, numbered, and how many more there are."""
    if len(errors) == 1:
        return errors[0]
    more = [f"and {len(errors) - MAX_ERRORS} more"] if len(errors) > MAX_ERRORS else []
    numbered = [f"({n}) {error}" for n, error in enumerate(errors[:MAX_ERRORS], 1)]
    return "; ".join([*numbered, *more])
