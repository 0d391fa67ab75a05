"""How two sets of settings differ, in one line."""

from collections.abc import Mapping
from typing import Any

MAX_VALUE_LENGTH = 48  # characters of a value


def changed_fields(
    there: Mapping[str, Any], here: Mapping[str, Any], but: tuple[str, ...] = ()
) -> dict[str, tuple[Any, Any]]:
    """Return the two values of every field that differs, by 'section.field'. Fields in `but` may
    differ."""
    before, now = flatten(there), flatten(here)
    fields = sorted((before | now).keys() - set(but))
    return {f: (before.get(f), now.get(f)) for f in fields if before.get(f) != now.get(f)}


def describe_difference(
    there: Mapping[str, Any], here: Mapping[str, Any], but: tuple[str, ...] = ()
) -> str:
    """Return 'train.epochs 2 there, 3 here' for every field that differs, the first four named; ''
    for none. Fields in `but` may differ."""
    return format_changes(changed_fields(there, here, but))


def format_changes(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Return the line of `describe_difference` for these changes; long values are cut."""
    named = list(changes.items())[:4]
    shown = ", ".join(f"{k} {_shorten(a)} there, {_shorten(b)} here" for k, (a, b) in named)
    return shown + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")


def _shorten(value: Any) -> str:
    """Return a value as it is shown: of a SHA-256 its beginning."""
    if isinstance(value, str) and len(value) == 64 and value.isalnum():
        return f"{value[:12]}..."
    text = repr(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}..."


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested settings by 'section.field'."""
    fields = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            fields |= flatten(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields
