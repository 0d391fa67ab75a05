"""Group and shorten the reasons for which items were left out."""

import re
from collections.abc import Sequence
from typing import Any

_NUMBER = re.compile(r"\d+(\.\d+)?")


def join_first(items: Sequence[Any], count: int) -> str:
    """Return the first `count` items and the number of the others: 'a, b, c and 4 more'."""
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return ", ".join(map(str, items[:count])) + more


def group_by_reason(left_out: Sequence[Sequence[str]]) -> list[tuple[str, list[str]]]:
    """Return (reason, items) of the (item, reason) in `left_out`, the most frequent reason first.

    Reasons that differ only in numbers are grouped under the first of them.
    """
    groups: dict[str, tuple[str, list[str]]] = {}
    for item, reason in left_out:
        groups.setdefault(_NUMBER.sub("#", reason), (reason, []))[1].append(item)
    return sorted(groups.values(), key=lambda entry: -len(entry[1]))
