"""Find hints in one collection that a patient has two ids or two patients share one.

The notes name cases as they are written to files.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from mtl_jax import patient_notes
from mtl_jax.data import patients
from mtl_jax.exclusion_reasons import join_first
from mtl_jax.types import GROUPS, PATIENTS

MAX_EXAMPLES = 3
T = TypeVar("T", str, tuple[str, str])


class ImageIdentity(NamedTuple):
    """An image of a case: its name, and digests of its pixels and of its header's PatientID."""

    case: str
    image: str
    pixels: str
    patient: str


def check_ids(
    looks_like: str, written_ids: Mapping[str, str], cases_are: str = PATIENTS
) -> list[str]:
    """Return notes on similar ids, by the case ids that are written for them, and on their form."""
    one = "one patient" if cases_are == PATIENTS else "one group"
    groups = _group_duplicates(written_ids, patients.normalize_id)
    notes = []
    if groups:
        first = " and ".join(written_ids[patient_id] for patient_id in groups[0])
        notes.append(
            f"{len(groups)} groups of ids differ only in case, blanks, signs or leading zeros and"
            f" count as different {cases_are}, the first {first}: if they are {one}, give them one"
            " id"
        )
    if looks_like:
        notes.append(patient_notes.id_format_note(looks_like))
    return notes


def check_images(images: Sequence[ImageIdentity], cases_are: str = PATIENTS) -> list[str]:
    """Return notes on PatientIDs that disagree with the case ids and on images stored twice.

    A group of images may show several patients, but a patient may not be in two groups.
    """
    are_groups = cases_are == GROUPS
    pairs = {(image.case, image.patient) for image in images if image.patient}
    notes = []
    by_case = _group_duplicates(pairs, lambda pair: pair[0])
    if by_case and not are_groups:
        cases = join_first([group[0][0] for group in by_case], MAX_EXAMPLES)
        notes.append(
            f"{len(by_case)} cases have images of several PatientIDs in their headers: {cases}:"
            " check that each case is one patient"
        )
    by_patient = _group_duplicates(pairs, lambda pair: pair[1])
    if by_patient:
        cases = join_first([pair[0] for pair in by_patient[0]], MAX_EXAMPLES)
        notes.append(
            f"{len(by_patient)} PatientIDs of the headers are listed under several"
            f" {cases_are if are_groups else 'cases'}, one under {cases}: if those are one patient,"
            f" give them one {'group_id' if are_groups else 'id'}"
        )
    names: dict[tuple[str, str], set[str]] = {}
    for image in images:
        if image.pixels:
            names.setdefault((image.case, image.pixels), set()).add(image.image)
    copies = sorted(sorted(group) for group in names.values() if len(group) > 1)
    if copies:
        notes.append(
            f"{len(copies)} images are stored twice within a case, the first as"
            f" {' and '.join(copies[0])}: each counts as a view of its own; keep one"
        )
    return notes


def _group_duplicates(items: Iterable[T], key: Callable[[T], str]) -> list[list[T]]:
    """Return the groups of two or more items with the same key; items with an empty key differ."""
    groups: dict[str, list[T]] = {}
    for item in sorted(items):
        groups.setdefault(key(item), []).append(item)
    return [group for text, group in groups.items() if text and len(group) > 1]
