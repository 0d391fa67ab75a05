"""Compare two configs and describe their differences in one line."""

from collections.abc import Mapping
from typing import Any

MAX_VALUE_LENGTH = 48  # characters of a value


def changed_fields(
    stored: Mapping[str, Any], current: Mapping[str, Any], ignored: tuple[str, ...] = ()
) -> dict[str, tuple[Any, Any]]:
    """Return {'section.field': (stored value, current value)} of the fields that differ."""
    old, new = flatten(stored), flatten(current)
    fields = sorted((old | new).keys() - set(ignored))
    return {f: (old.get(f), new.get(f)) for f in fields if old.get(f) != new.get(f)}


def fill_missing(stored: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return `stored` with the fields of `defaults` that it lacks, at any depth."""
    filled = {**defaults, **stored}
    for key, value in stored.items():
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping):
            filled[key] = fill_missing(value, defaults[key])
    return filled


def format_changes(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Return 'train.epochs is 2, not 3' (stored, current) for each change, four at most."""
    named = list(changes.items())[:4]
    text = ", ".join(f"{k} is {_shorten(a)}, not {_shorten(b)}" for k, (a, b) in named)
    return text + (f" and {len(changes) - 4} more" if len(changes) > 4 else "")


def _shorten(value: Any) -> str:
    """Return a value in at most `MAX_VALUE_LENGTH` characters, a SHA-256 in 12."""
    if isinstance(value, str) and len(value) == 64 and value.isalnum():
        return f"{value[:12]}..."
    text = repr(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}..."


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {'section.field': value} of a nested config."""
    fields = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            fields |= flatten(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields
