"""One message for all faults of a table: the first ten with their lines, and the count."""

from pathlib import Path

import pytest

from mtl_jax.data.table_errors import TableErrors
from mtl_jax.types import InputError

TABLE = Path("here/a table.csv")


def message(faults: TableErrors) -> str:
    with pytest.raises(InputError) as caught:
        faults.check()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_fault_is_no_error() -> None:
    faults = TableErrors(TABLE)
    with faults.collected(f"{TABLE} line 2"):
        pass
    assert not faults
    faults.check()


def test_a_single_fault_keeps_its_own_message() -> None:
    faults = TableErrors(TABLE)
    with faults.collected(f"{TABLE} line 7"):
        raise InputError(f"{TABLE} line 7: view 'X' is no view")
    assert faults
    assert message(faults) == "here/a table.csv line 7: view 'X' is no view"


def test_a_message_without_its_line_gets_it() -> None:
    faults = TableErrors(TABLE)
    with faults.collected(f"{TABLE} line 7"):
        raise InputError("film.png: cannot be read")
    assert message(faults) == "here/a table.csv line 7: film.png: cannot be read"


def test_faults_are_listed_by_line_whatever_the_order_they_are_found_in() -> None:
    faults = TableErrors(TABLE)
    for line in (12, 3, 100):
        faults.add(f"{TABLE} line {line}", f"{TABLE} line {line}: fault {line}")
    assert message(faults) == (
        "here/a table.csv: 3 faults: (1) line 3: fault 3; (2) line 12: fault 12;"
        " (3) line 100: fault 100"
    )


@pytest.mark.parametrize(("count", "more"), [(10, ""), (11, "; and 1 more"), (64, "; and 54 more")])
def test_ten_are_listed_and_all_are_counted(count: int, more: str) -> None:
    faults = TableErrors(TABLE)
    for line in range(2, count + 2):
        with faults.collected(f"{TABLE} line {line}"):
            raise InputError(f"{TABLE} line {line}: wrong")
    text = message(faults)
    assert f": {count} faults: (1) line 2: wrong" in text
    assert text.endswith(f"(10) line 11: wrong{more}")
    assert text.count(": wrong") == 10


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(KeyError), TableErrors(TABLE).collected("line 2"):
        raise KeyError("ours")
