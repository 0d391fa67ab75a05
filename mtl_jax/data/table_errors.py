"""All that is wrong with the rows of one table, in one message."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mtl_jax.data.error_list import join_errors
from mtl_jax.types import InputError

Value = TypeVar("Value")


class TableErrors:
    """Collects the faults of a table's rows, so that the user need not find them one by one.

    A caller reads each row within `collected`, and calls `check` after the last one:

        faults = TableFaults(table)
        for where, row in rows:
            with faults.collected(where):
                views.append(lesion_view(row, where))
        faults.check()

    A row with a fault must not enter later comparisons between rows, or one fault is listed twice.
    """

    def __init__(self, table: Path) -> None:
        self._table = table
        self._faults: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._faults)

    @contextlib.contextmanager
    def collected(self, where: str) -> Iterator[None]:
        """Keep an InputError of the row at `where` ('TABLE line 7'), and go on."""
        try:
            yield
        except InputError as error:
            self.add(where, str(error))

    def add(self, where: str, message: str) -> None:
        """Add the fault `message` of the row at `where`; the place is put before it if absent."""
        if not message.startswith(where):
            message = f"{where}: {message}"
        number = where.rpartition(" ")[2]
        self._faults.append((int(number) if number.isdecimal() else 0, message))

    def check(self) -> None:
        """Raise one InputError of one line that lists the first faults with their lines, and says
        how many there are; of a single fault, with its own message."""
        if not self._faults:
            return
        messages = [message for _, message in sorted(self._faults, key=lambda fault: fault[0])]
        if len(messages) == 1:
            raise InputError(messages[0])
        short = [message.removeprefix(f"{self._table} ") for message in messages]
        raise InputError(f"{self._table}: {len(messages)} faults: {join_errors(short)}")


class RowErrors:
    """Collects all that is wrong with one row: a row of three faults should not take three tries.

    faults = RowFaults(where)
    view = faults.read(parse_view, row, where)  # None where parse_view raises InputError
    side = faults.read(parse_side, row, where)
    faults.check()
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._messages: list[str] = []

    def read(self, parse: Callable[..., Value], *arguments: Any) -> Value | None:
        """Return what `parse` makes of `arguments`, or keep its InputError and return None."""
        try:
            return parse(*arguments)
        except InputError as error:
            self._messages.append(str(error).removeprefix(f"{self._where}: "))
            return None

    def check(self) -> None:
        """Raise one InputError of one line where any was kept."""
        if self._messages:
            raise InputError(f"{self._where}: {'; '.join(self._messages)}")
