"""Format, parse and count the notes on the metadata of images."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from mtl_jax.types import LesionView, Note, RoiSet

SEPARATOR = "; "
MAX_EXAMPLES = 3  # lesion views named per kind of note
_WITH_DETAIL = re.compile(r"(.+?) \((.+)\)")


def add_notes(view: LesionView, notes: Sequence[Note]) -> LesionView:
    """Return `view` with `notes` appended: corrections to its `note`, others to its `noted`."""
    corrections, others = split_notes(notes)
    return replace(
        view,
        note=SEPARATOR.join(filter(None, (view.note, corrections))),
        noted=SEPARATOR.join(filter(None, (view.noted, others))),
    )


def split_notes(notes: Sequence[Note]) -> tuple[str, str]:
    """Return the joined texts of the corrections, and those of the other notes."""
    corrections = SEPARATOR.join(note.text for note in notes if note.corrected)
    return corrections, SEPARATOR.join(note.text for note in notes if not note.corrected)


def parse_notes(view: LesionView) -> list[Note]:
    """Return the notes that a source wrote into a view, 'KIND (DETAIL)' each."""
    notes = []
    for text, corrected in ((view.note, True), (view.noted, False)):
        for part in filter(None, text.split(SEPARATOR)):
            match = _WITH_DETAIL.fullmatch(part)
            notes.append(Note(*(match.groups() if match else (part,)), corrected=corrected))
    return notes


def describe_notes(views: Sequence[LesionView]) -> list[str]:
    """Return 'KIND: 3 lesion views' for each kind of note that a source wrote into its views."""
    counts = Counter(note.kind for view in views for note in parse_notes(view))
    return [f"{kind}: {count} lesion views" for kind, count in sorted(counts.items())]


def count_notes(noted: Iterable[tuple[str, Sequence[Note]]]) -> list[dict[str, Any]]:
    """Return one entry per kind of note, corrections first, then the most frequent.

    An entry holds kind, corrected, the number of lesion views, the names of the first of them and
    the detail of the first. `noted` has the name and the notes of each lesion view.
    """
    entries: dict[tuple[bool, str], dict[str, Any]] = {}
    for item, notes in noted:
        for kind, note in {(note.corrected, note.kind): note for note in notes}.items():
            entry = entries.setdefault(
                kind,
                {
                    "kind": note.kind,
                    "corrected": note.corrected,
                    "lesion_views": 0,
                    "items": [],
                    "detail": note.detail,
                },
            )
            entry["lesion_views"] += 1
            if len(entry["items"]) < MAX_EXAMPLES:
                entry["items"].append(item)
    return sorted(
        entries.values(), key=lambda e: (not e["corrected"], -e["lesion_views"], e["kind"])
    )


def format_lines(rois: RoiSet, without: Sequence[str] = ()) -> list[str]:
    """Return a line per kind of note on the images of `rois` but the kinds `without`."""
    lines = []
    for entry in rois.manifest.get("notes", []):
        if entry["kind"] in without:
            continue
        decision = "repaired" if entry["corrected"] else "noted"
        example = f" (the first: {entry['detail']})" if entry["detail"] else ""
        lines.append(f"{rois.name}: {entry['lesion_views']} {decision}: {entry['kind']}{example}")
    return lines
