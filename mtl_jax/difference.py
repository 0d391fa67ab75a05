"""How two sets of settings differ, in one line. It knows no setting."""

from collections.abc import Mapping
from typing import Any


def difference(there: Mapping[str, Any], here: Mapping[str, Any], but: tuple[str, ...] = ()) -> str:
    """'train.epochs 2 there, 3 here' for every field that differs, the first four named; '' for
    none. Fields in `but` may differ."""
    before, now = _flat(there), _flat(here)
    fields = sorted((before | now).keys() - set(but))
    differ = [field for field in fields if before.get(field) != now.get(field)]
    shown = ", ".join(f"{k} {before.get(k)!r} there, {now.get(k)!r} here" for k in differ[:4])
    return shown + (f" and {len(differ) - 4} more" if len(differ) > 4 else "")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
