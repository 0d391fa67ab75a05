"""Nested parameters by path, 'C2/block1/conv1/kernel', and back. Knows no network."""

from collections.abc import Mapping
from typing import Any


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dicts by their path, in the order of the dicts."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        else:
            found[prefix + name] = value
    return found


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts from leaves by path, the inverse of `flat`. ValueError where a path goes on
    through a leaf."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        *above, name = path.split("/")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"{path} goes on through a leaf")
        if name in place:
            raise ValueError(f"{path} is a leaf and a branch")
        place[name] = value
    return tree
