"""Reasons for which something was left out, grouped. Decides nothing."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\d+(\.\d+)?")


def by_reason(left_out: Sequence[Sequence[str]]) -> list[tuple[str, list[str]]]:
    """What was left out for one reason, the commonest first, in the words of its first item;
    reasons that differ in numbers alone are one. `left_out` has (item, reason) of each."""
    found: dict[str, tuple[str, list[str]]] = {}
    for item, reason in left_out:
        found.setdefault(_NUMBER.sub("#", reason), (reason, []))[1].append(item)
    return sorted(found.values(), key=lambda entry: -len(entry[1]))
