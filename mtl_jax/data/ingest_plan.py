"""What is to be made of a collection: which views, under which names."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mtl_jax.data import (
    acquisition,
    duplicate_patients,
    extract_rois,
    patients,
    privacy,
    reference_standard,
    shards,
)
from mtl_jax.data.sources import SOURCES
from mtl_jax.imaging.roi import GRAY_PER_COUNT, PIXEL_UM, ROI_PIXELS
from mtl_jax.types import Collection, InputError, LesionView


@dataclass(frozen=True)
class Rules:
    """How an ingest goes about it: the fields of config.data with these names, and their defaults.

    Workers change no byte of what is made; strict and unusable only whether it is.
    """

    truth_policy: str = reference_standard.DEFAULT_POLICY
    strict: bool = False
    unusable: str = "reject"
    pseudonymise: bool = True
    workers: int = 1


DEFAULT_RULES = Rules()
# Sources whose facts a user wrote into a table: where a header contradicts them, either may be
# wrong. The facts of any other source are published, and a contradiction is noted.
USER_TABLES = ("cmmd", "manifest", "tfds")


class Plan(NamedTuple):
    """A collection with the names that may be written, and all that decides its shards."""

    collection: Collection  # as its source says
    views: tuple[LesionView, ...]  # the same, under the names that may be written
    images: tuple[str, ...]  # of each view
    reasons: tuple[str, ...]  # why each view is left out by policy; '' where it is not
    names: privacy.CollectionNames
    keys: patients.PatientKeys
    background: Mapping[str, Any]
    record: dict[str, Any]  # for the manifest
    fingerprint: str


def make_plan(
    source: str,
    path: str,
    background: Mapping[str, Any],
    options: Mapping[str, Any],
    rules: Rules,
) -> Plan:
    """Asks the source for its collection and applies the rules to it.

    InputError: nothing is in it, or the rules reject all of it, or strict rules a part.
    """
    with privacy.suppress_warnings():
        collection = SOURCES[source](path, **options)
    if not collection.views:
        reasons = Counter(reason for _, reason in collection.left_out).most_common(1)
        most = f", most because: {reasons[0][0]}" if reasons else ""
        raise InputError(
            f"{collection.name}: no lesion left in {collection.root}"
            f" ({len(collection.left_out)} left out{most})"
        )
    rejected = reference_standard.rejection_reasons(collection, rules.truth_policy)
    if rules.strict:
        _reject_repairs(collection, rejected)
    hidden = rules.pseudonymise and not collection.public_ids
    secret = privacy.load_key() if hidden else None
    names = privacy.CollectionNames(collection, secret)
    namespace = patients.choose_namespace(source, collection.name, collection.namespace)
    patients.reject_duplicate_ids(
        namespace, collection.name, sorted({v.case_id for v in collection.views})
    )
    keys = patients.PatientKeys(namespace, secret)
    views = tuple(names.view(view) for view in collection.views)
    shown = {
        view.case_id: written.case_id for view, written in zip(collection.views, views, strict=True)
    }
    # What the manifest says of its namespace itself stands.
    looks_like = "" if collection.namespace else patients.guess_namespace(namespace, shown)
    ids = "pseudonyms, by a keyed hash" if hidden else "the collection's own"
    record = {
        "source": source,
        "imaging": _imaging(background),
        "acquisition": acquisition.published_acquisition(source)._asdict(),
        "namespace": namespace,
        "patient_key": keys.fingerprint,
        "ids_as_published": all(patients.canonical_id(namespace, own)[1] for own in shown),
        "ids_look_like": looks_like,
        "decisions": [
            *(names.text(decision) for decision in collection.decisions),
            reference_standard.describe_policy(collection, rules.truth_policy, rejected),
            f"{collection.name}: ids of cases and lesions and names of files are {ids}",
            f"{collection.name}: patients are those of the namespace {namespace}",
            *(
                f"{collection.name}: {note}"
                for note in duplicate_patients.check_ids(looks_like, shown)
            ),
        ],
        "left_out": [(names.item(item), names.text(why)) for item, why in collection.left_out],
    }
    images = tuple(names.image(view) for view in collection.views)
    fingerprint = _fingerprint(collection, options, record, views, images, rejected)
    return Plan(
        collection, views, images, tuple(rejected), names, keys, background, record, fingerprint
    )


def _fingerprint(
    collection: Collection,
    options: Mapping[str, Any],
    record: Mapping[str, Any],
    views: Sequence[LesionView],
    images: Sequence[str],
    rejected: Sequence[str],
) -> str:
    """Return SHA-256 of all that decides the shards: format, rules, options, record, views and
    files."""
    listed = list(zip(views, images, strict=True))
    facts = {
        "format_version": shards.FORMAT_VERSION,
        "rules_version": extract_rois.RULES_VERSION,
        "name": collection.name,
        "options": dict(options),
        **record,
        "views": [vars(view) | {"image_path": image, "where": ""} for view, image in listed],
        "stamps": sorted(
            {(image, extract_rois.file_stamp(view.image_path)) for view, image in listed}
        ),
        "rejected": rejected,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _reject_repairs(collection: Collection, rejected: Sequence[str]) -> None:
    repaired = [
        view
        for view, reason in zip(collection.views, rejected, strict=True)
        if view.note and not reason
    ]
    reject_repaired(
        collection.name, [(describe_view(v), v.note) for v in repaired], len(collection.views)
    )


def reject_repaired(name: str, repaired: Sequence[tuple[str, str]], total: int) -> None:
    """Raise InputError if any of `total` lesion views was repaired: where and what of each."""
    if repaired:
        place, note = repaired[0]
        raise InputError(
            f"{name}: strict: {len(repaired)} of {total} lesion views need a repair; the first,"
            f" {place}: {note}; mend the collection, or leave strict off"
        )


def _imaging(background: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "background": dict(sorted(background.items())),
        "pixel_um": PIXEL_UM,
        "roi_pixels": ROI_PIXELS,
        "gray_per_count": GRAY_PER_COUNT,
        "outside_image": "mirrored",
    }


def describe_view(view: LesionView) -> str:
    """Return a lesion view in the words of its source, for messages to the user alone."""
    table = f"{view.where}: " if view.where else ""
    return f"{table}{view.image_path}: lesion {view.lesion_id} of case {view.case_id}"
