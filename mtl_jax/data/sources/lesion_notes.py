"""Count the notes of lesion views for the decisions of a collection."""

from collections import Counter
from collections.abc import Sequence

from mtl_jax.types import LesionView


def count_notes(views: Sequence[LesionView]) -> list[str]:
    """Return 'NOTE: 3 lesion views' for each note; the details in brackets are left out."""
    notes = Counter(
        note.partition(" (")[0]
        for view in views
        for note in f"{view.note}; {view.noted}".split("; ")
        if note
    )
    return [f"{note}: {count} lesion views" for note, count in sorted(notes.items())]
