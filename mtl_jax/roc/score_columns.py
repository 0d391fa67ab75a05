"""Finds the fields of a table of scores among the columns of a file."""

import re
from collections.abc import Sequence
from pathlib import Path

from mtl_jax.io.read_csv import plain

# Each field may be headed by any of these, whatever their case, blanks, hyphens and underscores.
NAMES = {
    "label": ("label", "truth"),
    "score": ("score",),
    "task": ("task", "collection", "dataset", "cohort"),
    "case": ("case", "case_id", "patient", "patient_id", "subject", "subject_id"),
    "laterality": ("laterality", "side", "breast", "breast_side", "image_laterality"),
    "lesion": ("lesion", "lesion_id", "abnormality_id", "finding_id", "mass_id"),
    "view": ("view", "image_view", "view_position"),
    "roi": ("roi", "roi_id"),
}
REQUIRED = ("label", "score")


def find_columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the place of each field that the file has.

    Raises ValueError where two columns name one field, or a needed one is missing.
    """
    found = {}
    for field, names in NAMES.items():
        wanted = [plain(name) for name in names]
        at = [i for i, name in enumerate(header) if plain(name) in wanted]
        if len(at) > 1:
            both = " and ".join(_on_one_line(header[i]) for i in at)
            raise ValueError(f"{path}: columns {both} both name the {field}; keep one")
        if at:
            found[field] = at[0]
    for field in REQUIRED:
        if field not in found:
            shown = ", ".join(_on_one_line(name) for name in header if name)
            separated = re.search(r"[;\t|]", "".join(header))
            cure = "; separate cells with commas" if separated else ""
            raise ValueError(f"{path}: has no column {field}; its columns are {shown}{cure}")
    return found


def column_notes(header: Sequence[str], found: dict[str, int], empty: Sequence[str]) -> list[str]:
    """Return lines for the screen: the fields taken from columns of other names, and the columns
    ignored; `empty` are the fields left out because no row has an entry."""
    taken = {field: i for field, i in found.items() if field not in empty}
    renamed = [f"{f} = {_on_one_line(header[i])}" for f, i in taken.items() if header[i] != f]
    blank = [found[field] for field in empty]
    ignored = [
        f"{_on_one_line(name)} (empty)" if i in blank else _on_one_line(name)
        for i, name in enumerate(header)
        if name and i not in taken.values()
    ]
    lines = [f"columns: {', '.join(renamed)}"] if renamed else []
    return lines + ([f"ignored columns: {', '.join(ignored)}"] if ignored else [])


def _on_one_line(name: str) -> str:
    """Return the name on one line, as a header may hold line ends in quotes."""
    return "".join(c if c.isprintable() else " " for c in name)
