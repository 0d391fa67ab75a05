"""Reasons for which something was left out, grouped and shortened."""

import re
from collections.abc import Sequence
from typing import Any

_NUMBER = re.compile(r"\d+(\.\d+)?")


def join_first(items: Sequence[Any], most: int) -> str:
    """Return 'a, b, c and 4 more' of seven items where at `most` three are named."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def group_by_reason(left_out: Sequence[Sequence[str]]) -> list[tuple[str, list[str]]]:
    """Return what was left out for one reason, the commonest first, in the words of its first item;
    reasons that differ in numbers alone are one. `left_out` has (item, reason) of each."""
    found: dict[str, tuple[str, list[str]]] = {}
    for item, reason in left_out:
        found.setdefault(_NUMBER.sub("#", reason), (reason, []))[1].append(item)
    return sorted(found.values(), key=lambda entry: -len(entry[1]))
