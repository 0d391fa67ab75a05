"""What in one collection hints that one patient has two ids, or two patients one.

Sentences name cases as they may be written.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from mtl_jax import patient_notes
from mtl_jax.data import patients
from mtl_jax.exclusion_reasons import join_first

MAX_EXAMPLES = 3
T = TypeVar("T", str, tuple[str, str])


class ImageIdentity(NamedTuple):
    """An image of a case: its name, and digests of its pixels and of its header's PatientID."""

    case: str
    image: str
    pixels: str
    patient: str


def check_ids(looks_like: str, shown: Mapping[str, str]) -> list[str]:
    """Sentences on the ids of one namespace; `shown` maps each to the case id that is written, and
    `looks_like` is the public namespace whose form they have, '' for none."""
    alike = _group_duplicates(shown, patients.normalize_id)
    notes = []
    if alike:
        first = " and ".join(shown[one] for one in alike[0])
        notes.append(
            f"{len(alike)} groups of ids read as the same (but for case, blanks, signs or leading"
            f" zeros) and count as different patients, the first {first}: if they are one patient,"
            " give them one id"
        )
    if looks_like:
        notes.append(patient_notes.id_format_note(looks_like))
    return notes


def check_images(seen: Sequence[ImageIdentity]) -> list[str]:
    """Sentences on PatientIDs of the headers that disagree with the case ids, and on images that
    are there twice."""
    said = {(one.case, one.patient) for one in seen if one.patient}
    notes = []
    several = _group_duplicates(said, lambda pair: pair[0])
    if several:
        notes.append(
            f"{len(several)} cases have images of several PatientIDs in their headers:"
            f" {join_first([group[0][0] for group in several], MAX_EXAMPLES)}: see that each is one"
            " patient"
        )
    shared = _group_duplicates(said, lambda pair: pair[1])
    if shared:
        first = join_first([pair[0] for pair in shared[0]], MAX_EXAMPLES)
        notes.append(
            f"{len(shared)} PatientIDs of the headers stand under several cases, one under {first}:"
            " if those are one patient, give them one id"
        )
    pictures = {(one.case, one.pixels): set() for one in seen if one.pixels}
    for one in seen:
        if one.pixels:
            pictures[one.case, one.pixels].add(one.image)
    twice = sorted(sorted(images) for images in pictures.values() if len(images) > 1)
    if twice:
        notes.append(
            f"{len(twice)} images are stored twice within a case, the first as"
            f" {' and '.join(twice[0])}: each counts as a view of its own; keep one"
        )
    return notes


def _group_duplicates(items: Iterable[T], key: Callable[[T], str]) -> list[list[T]]:
    """Items of one key, where there are several; an empty key is like no other."""
    found: dict[str, list[T]] = {}
    for one in sorted(items):
        found.setdefault(key(one), []).append(one)
    return [group for text, group in found.items() if text and len(group) > 1]
