"""One message for all errors in a table: the first ten with their lines, and the count."""

from pathlib import Path

import pytest

from mtl_jax.data.table_errors import TableErrors
from mtl_jax.types import InputError

TABLE = Path("here/a table.csv")


def message(errors: TableErrors) -> str:
    with pytest.raises(InputError) as caught:
        errors.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_errors_raise_nothing() -> None:
    errors = TableErrors(TABLE)
    with errors.collect(f"{TABLE} line 2"):
        pass
    assert not errors
    errors.check()


def test_a_single_error_keeps_its_message() -> None:
    errors = TableErrors(TABLE)
    with errors.collect(f"{TABLE} line 7"):
        raise InputError(f"{TABLE} line 7: view 'X' is no view")
    assert errors
    assert message(errors) == "here/a table.csv line 7: view 'X' is no view"


def test_a_message_without_its_line_is_prefixed_with_it() -> None:
    errors = TableErrors(TABLE)
    with errors.collect(f"{TABLE} line 7"):
        raise InputError("film.png: cannot be read")
    assert message(errors) == "here/a table.csv line 7: film.png: cannot be read"


def test_errors_are_listed_in_the_order_of_their_lines() -> None:
    errors = TableErrors(TABLE)
    for line in (12, 3, 100):
        errors.add(f"{TABLE} line {line}", f"{TABLE} line {line}: fault {line}")
    assert message(errors) == (
        "here/a table.csv: 3 errors: (1) line 3: fault 3; (2) line 12: fault 12;"
        " (3) line 100: fault 100"
    )


@pytest.mark.parametrize(("count", "more"), [(10, ""), (11, "; and 1 more"), (64, "; and 54 more")])
def test_ten_are_listed_and_all_are_counted(count: int, more: str) -> None:
    errors = TableErrors(TABLE)
    for line in range(2, count + 2):
        with errors.collect(f"{TABLE} line {line}"):
            raise InputError(f"{TABLE} line {line}: wrong")
    text = message(errors)
    assert f": {count} errors: (1) line 2: wrong" in text
    assert text.endswith(f"(10) line 11: wrong{more}")
    assert text.count(": wrong") == 10


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(KeyError), TableErrors(TABLE).collect("line 2"):
        raise KeyError("ours")
