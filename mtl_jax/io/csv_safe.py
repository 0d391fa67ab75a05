"""Tables as CSV, and cells that no spreadsheet takes for a formula."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from mtl_jax.types import InputError

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would run `text` instead of showing it; a number it shows."""
    if not text.startswith(FORMULA_STARTS):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def escape_formula(text: str) -> str:
    """Return `text` as a cell that is for reading alone: after an apostrophe where it would be
    run."""
    return f"'{text}" if is_formula(text) else text


def escape_row(row: Iterable[Any]) -> list[Any]:
    """Return `escape_formula` on each text of a row."""
    return [escape_formula(cell) if isinstance(cell, str) else cell for cell in row]


def format_csv(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as the text of a CSV file with Unix line ends."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()


def reject_formula(text: str, what: str) -> str:
    """Return `text`, an id that others join tables by and that must stay as it is. InputError
    where a spreadsheet would run it."""
    if is_formula(text):
        raise InputError(
            f"{what} {text!r} begins with {text[0]!r}, and a spreadsheet that opens a table of ours"
            " would run it: rename it, or have a pseudonym written (data.pseudonymise=True;"
            " tools/score.py without --keep-ids)"
        )
    return text
