"""Find the fields of a table of scores among the columns of a file."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mtl_jax.io.read_csv import plain

# The column names of each field; case, blanks, hyphens and underscores do not matter.
NAMES = {
    # y_true and y_score are the names of scikit-learn. A probability is never taken for a score.
    "label": ("label", "truth", "y_true"),
    "score": ("score", "y_score"),
    "task": ("task", "collection", "dataset", "cohort"),
    "case": (
        *("case", "case_id", "patient", "patient_id", "subject", "subject_id"),
        "group_id",  # of images, in a collection without patient ids
    ),
    "laterality": ("laterality", "side", "breast", "breast_side", "image_laterality"),
    "lesion": ("lesion", "lesion_id", "abnormality_id", "finding_id", "mass_id"),
    "view": ("view", "image_view", "view_position"),
    "roi": ("roi", "roi_id"),
}
REQUIRED = ("label", "score")


def find_columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the column number of each field that the file has.

    Raises ValueError if two columns are of one field, or a required field is missing.
    """
    columns = {}
    for field, names in NAMES.items():
        plain_names = [plain(name) for name in names]
        matches = [i for i, name in enumerate(header) if plain(name) in plain_names]
        if len(matches) > 1:
            both = " and ".join(_on_one_line(header[i]) for i in matches)
            raise ValueError(
                f"{path}: the columns {both} both name the field {field}; delete or rename one"
            )
        if matches:
            columns[field] = matches[0]
    for field in REQUIRED:
        if field not in columns:
            listed = ", ".join(_on_one_line(name) for name in header if name)
            other_separator = re.search(r"[;\t|]", "".join(header))
            cure = "separate cells with commas" if other_separator else "add it, or rename a column"
            if field == "score" and "probability" in map(plain, header):
                cure = "rename probability to score if it is to be analyzed"
            raise ValueError(f"{path}: has no column {field}; its columns are {listed}; {cure}")
    return columns


def column_notes(
    header: Sequence[str],
    columns: Mapping[str, int],
    empty: Sequence[str],
    filters: Collection[str] = (),
) -> list[str]:
    """Return the lines on the screen: the columns used under another name, and those ignored.

    `empty` are the fields without an entry in any row, `filters` the columns of `--where`.
    """
    used = {field: i for field, i in columns.items() if field not in empty}
    renamed = [f"{f} = {_on_one_line(header[i])}" for f, i in used.items() if header[i] != f]
    blank = [columns[field] for field in empty]
    ignored = [
        f"{_on_one_line(name)} (empty)" if i in blank else _on_one_line(name)
        for i, name in enumerate(header)
        if name and i not in used.values() and plain(name) not in filters
    ]
    lines = [f"columns: {', '.join(renamed)}"] if renamed else []
    return lines + ([f"ignored columns: {', '.join(ignored)}"] if ignored else [])


def _on_one_line(name: str) -> str:
    """Return the name without line ends, which a quoted header may have."""
    return "".join(c if c.isprintable() else " " for c in name)
