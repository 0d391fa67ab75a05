"""Write CSV tables whose cells a spreadsheet does not run as formulas."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from mtl_jax.types import InputError

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would run `text` as a formula. Numbers are not formulas."""
    if not text.startswith(FORMULA_STARTS):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def escape_formula(text: str) -> str:
    """Return `text`, with an apostrophe before it if a spreadsheet would run it as a formula."""
    return f"'{text}" if is_formula(text) else text


def escape_row(row: Iterable[Any]) -> list[Any]:
    """Return the cells of a row with formulas escaped; cells that are not text are unchanged."""
    return [escape_formula(cell) if isinstance(cell, str) else cell for cell in row]


def format_csv(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV text with Unix line endings."""
    return format_rows([header]) + format_rows(rows)


def format_rows(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows of a table as CSV text with Unix line endings."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def reject_formula(text: str, what: str) -> str:
    """Return the id `text`; raise InputError if a spreadsheet would run it as a formula.

    Ids are not escaped, because other tables are joined by them.
    """
    if is_formula(text):
        raise InputError(
            f"{what} {text!r} begins with {text[0]!r}, so a spreadsheet would run it as a formula:"
            " rename it, or write pseudonyms (data.pseudonymise=True; mtl-jax score without"
            " --keep-ids)"
        )
    return text
