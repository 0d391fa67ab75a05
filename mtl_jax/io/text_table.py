"""Align the columns of a table of words for a terminal."""

from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Return a line for each row, with columns as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [(indent + "  ".join(map(str.ljust, row, widths))).rstrip() for row in rows]
