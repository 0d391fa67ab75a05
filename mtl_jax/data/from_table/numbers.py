"""Read numbers that may have a decimal comma."""

import math
import re
from collections.abc import Iterable

from mtl_jax.types import InputError

DECIMALS = {"comma": ",", "point": "."}
_NUMBER = re.compile(r"[+-]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?")


def decide_decimal(texts: Iterable[tuple[int, str]], column: str, given: str) -> str:
    """Return the decimal mark, ',' or '.', of the numbers of a column.

    Parameters
    ----------
    texts
        The lines and texts of the numbers; other texts are ignored.
    column
        Its name, for messages.
    given
        The option --decimal: comma, point or ''.

    Raises
    ------
    InputError
        Some numbers have a decimal comma and others a decimal point, or a comma before three
        digits, as in 1,234, may be either a decimal or a thousands separator in all rows.
    """
    if given:
        return DECIMALS[given]
    marks: dict[str, int] = {}  # the first line that shows each decimal mark
    ambiguous: list[tuple[int, str]] = []
    for line, text in texts:
        if not _NUMBER.fullmatch(text):
            continue
        mark = _decimal_mark(text)
        if mark:
            marks.setdefault(mark, line)
        elif "," in text:
            ambiguous.append((line, text))
    if len(marks) > 1:
        raise InputError(
            f"column {column!r} has decimal commas (line {marks[',']}) and decimal points (line"
            f" {marks['.']}): write them in one way"
        )
    if ambiguous and not marks:
        line, text = ambiguous[0]
        raise InputError(
            f"column {column!r}: {text} (line {line}) is ambiguous: give --decimal comma if it is"
            f" {text.replace(',', '.')}, or --decimal point if it is {text.replace(',', '')}"
        )
    return next(iter(marks), ".")


def _decimal_mark(text: str) -> str:
    """Return the mark that must be the decimal one in a number, '' if none must be.

    A mark before other than three digits, after a zero or after more than three digits separates
    no thousands; of two different marks the last one is the decimal mark.
    """
    digits = re.sub(r"[eE].*", "", text).lstrip("+-")
    marks = re.findall(r"[.,]", digits)
    if not marks:
        return ""
    last = marks[-1]
    if len(set(marks)) == 2:
        return last
    if len(marks) > 1:  # 1.234.567
        return "," if last == "." else "."
    before, after = digits.split(last)
    groups = len(after) == 3 and 1 <= len(before) <= 3 and not before.startswith("0")
    if groups and "e" not in text.lower():
        return ""
    return last


def parse_number(text: str, mark: str) -> float:
    """Return a finite number with the decimal mark; the other mark separates thousands."""
    other = "," if mark == "." else "."
    whole, _, fraction = text.partition(mark)
    # Thousands are groups of three digits.
    thousands = re.fullmatch(rf"[+-]?\d{{1,3}}(?:{re.escape(other)}\d{{3}})+", whole)
    plain = whole.replace(other, "") if thousands else whole
    try:
        value = float(f"{plain}.{fraction}" if fraction else plain)
    except ValueError:
        value = math.nan
    if not _NUMBER.fullmatch(text) or not math.isfinite(value):
        raise InputError(f"{text!r} is not a number")
    return value


def split_numbers(text: str) -> list[str]:
    """Return the texts of the numbers in one cell, such as '10;20;30;40' or '[10, 20, 30, 40]'."""
    bare = text.strip("()[]{} ")
    for separator in (r"[;|]", r",?\s+", r","):
        parts = [part.strip() for part in re.split(separator, bare)]
        if len(parts) > 1:
            return parts
    return parts
