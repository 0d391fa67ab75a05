"""Notes on the facts of images: put into words, counted by kind."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mtl_jax.types import LesionView, Note, RoiSet

SEPARATOR = "; "
MAX_EXAMPLES = 3  # lesion views named of those with a note of one kind
_WITH_DETAIL = re.compile(r"(.+?) \((.+)\)")


def add_notes(view: LesionView, notes: Sequence[Note]) -> LesionView:
    """Return `view` with `notes` after those that it has: what was corrected in `note`, the rest in
    `noted`."""
    others = SEPARATOR.join(note.text for note in notes if not note.corrected)
    return replace(
        view,
        note=SEPARATOR.join(filter(None, (view.note, corrections(notes)))),
        noted=SEPARATOR.join(filter(None, (view.noted, others))),
    )


def corrections(notes: Sequence[Note]) -> str:
    """Return what was corrected, in one text; '' where nothing was."""
    return SEPARATOR.join(note.text for note in notes if note.corrected)


def parse_notes(view: LesionView) -> list[Note]:
    """Return the notes that a source has written into a view; a detail stands in brackets at the
    end."""
    found = []
    for text, corrected in ((view.note, True), (view.noted, False)):
        for part in filter(None, text.split(SEPARATOR)):
            match = _WITH_DETAIL.fullmatch(part)
            found.append(Note(*(match.groups() if match else (part,)), corrected=corrected))
    return found


def count_notes(noted: Iterable[tuple[str, Sequence[Note]]]) -> list[dict[str, Any]]:
    """Return one entry a kind of note, the commonest first: kind, corrected, the number of lesion
    views, the first of them and the detail of the first. `noted` has the name and the notes of
    each."""
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


def format_lines(rois: RoiSet) -> list[str]:
    """Return a line a kind of note on the images of `rois`, for the screen; shards made before
    notes were counted have none."""
    return [f"{rois.name}: {format_entry(entry)}" for entry in rois.manifest.get("notes", [])]


def format_entry(entry: Mapping[str, Any]) -> str:
    """Return '12 noted: KIND', with the numbers of the first lesion view."""
    decision = "repaired" if entry["corrected"] else "noted"
    example = f" (the first: {entry['detail']})" if entry["detail"] else ""
    return f"{entry['lesion_views']} {decision}: {entry['kind']}{example}"
