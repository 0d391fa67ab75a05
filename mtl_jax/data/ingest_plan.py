"""Plan an ingest: the lesion views to extract, and the names to write for them."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mtl_jax.data import (
    duplicate_patients,
    extract_rois,
    patients,
    privacy,
    reference_standard,
    shards,
)
from mtl_jax.data.acquisition import PUBLISHED, Acquisition
from mtl_jax.data.sources import SOURCES
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.types import GROUPS, Collection, InputError, LesionView


@dataclass(frozen=True)
class Rules:
    """Rules of an ingest: the fields of config.data with the same names, and their defaults.

    `workers` does not change the shards; `strict` and `unusable` only decide whether they are
    written.
    """

    truth_policy: str = reference_standard.DEFAULT_POLICY
    strict: bool = False
    unusable: str = "reject"
    pseudonymise: bool = True
    workers: int = 1


DEFAULT_RULES = Rules()
ADDED_OPTIONS = (("conflicts", "reject"),)  # of sources, since version 0.3, with their defaults
# Sources with a table that the user wrote. If a header contradicts it, either may be wrong: that is
# an error. The tables of other sources are published, and a contradiction is only noted.
USER_TABLES = ("cmmd", "manifest", "tfds")


class Plan(NamedTuple):
    """A collection, the names to write for it, and everything that determines its shards."""

    collection: Collection  # with the original names
    views: tuple[LesionView, ...]  # with the names to write
    images: tuple[str, ...]  # name of the image of each view
    reasons: tuple[str, ...]  # why the policy leaves a view out; '' if it does not
    names: privacy.CollectionNames
    keys: patients.PatientKeys
    roi: RoiSettings
    record: dict[str, Any]  # for manifest.json
    fingerprint: str
    written_ids: dict[str, str]  # the case id to write for each original one


def make_plan(
    source: str,
    path: str,
    roi: RoiSettings,
    options: Mapping[str, Any],
    rules: Rules,
) -> Plan:
    """Read the collection of `source` at `path` and apply the rules to it."""
    with privacy.suppress_warnings():
        collection = SOURCES[source](path, **options)
    return plan_collection(source, collection, roi, options, rules)


def plan_collection(
    source: str,
    collection: Collection,
    roi: RoiSettings,
    options: Mapping[str, Any],
    rules: Rules,
) -> Plan:
    """Apply the rules to a collection that `source` read with `options`."""
    if not collection.views:
        reasons = Counter(reason for _, reason in collection.left_out).most_common(1)
        cause = f", mostly because: {reasons[0][0]}" if reasons else ""
        raise InputError(
            f"{collection.name}: no lesion left in {collection.root}"
            f" ({len(collection.left_out)} left out{cause})"
        )
    rejection_reasons = reference_standard.rejection_reasons(collection, rules.truth_policy)
    if rules.strict:
        _reject_corrections(collection, rejection_reasons)
    pseudonymise = rules.pseudonymise and not collection.public_ids
    secret = privacy.load_key() if pseudonymise else None
    names = privacy.CollectionNames(collection, secret)
    are_groups = collection.cases_are == GROUPS
    namespace = patients.collection_namespace(source, collection)
    patients.reject_duplicate_ids(
        namespace, collection.name, sorted({v.case_id for v in collection.views})
    )
    keys = patients.PatientKeys(namespace, secret)
    views = tuple(names.view(view) for view in collection.views)
    written_ids = {
        view.case_id: written.case_id for view, written in zip(collection.views, views, strict=True)
    }
    # Guess only if the manifest gives no namespace. The form of the id of a group means nothing.
    is_known = are_groups or collection.namespace
    looks_like = "" if is_known else patients.guess_namespace(namespace, written_ids)
    ids = "pseudonyms, by a keyed hash" if pseudonymise else "the collection's own"
    record = {
        "source": source,
        "imaging": roi.record(),
        "acquisition": PUBLISHED.get(source, Acquisition())._asdict(),
        "namespace": namespace,
        "patient_key": keys.fingerprint,
        "ids_as_published": all(patients.canonical_id(namespace, i)[1] for i in written_ids),
        "ids_look_like": looks_like,
        "decisions": [
            *(names.text(decision) for decision in collection.decisions),
            reference_standard.describe_policy(collection, rules.truth_policy, rejection_reasons),
            f"{collection.name}: case ids, lesion ids and file names are {ids}",
            f"{collection.name}: group ids are compared with no ids of other collections"
            if are_groups
            else f"{collection.name}: patient ids belong to the namespace {namespace}",
            *(
                f"{collection.name}: {note}"
                for note in duplicate_patients.check_ids(
                    looks_like, written_ids, collection.cases_are
                )
            ),
        ],
        "left_out": [
            (names.item(item), names.text(reason)) for item, reason in collection.left_out
        ],
    }
    if are_groups:  # absent for patients, as in shards of earlier versions
        record["cases_are"] = GROUPS
    images = tuple(names.image(view) for view in collection.views)
    fingerprint = _fingerprint(collection, options, record, views, images, rejection_reasons)
    return Plan(
        *(collection, views, images, tuple(rejection_reasons), names, keys, roi, record),
        *(fingerprint, written_ids),
    )


def _fingerprint(
    collection: Collection,
    options: Mapping[str, Any],
    record: Mapping[str, Any],
    views: Sequence[LesionView],
    images: Sequence[str],
    rejection_reasons: Sequence[str],
) -> str:
    """Return the SHA-256 of everything that determines the shards, with file sizes and mtimes."""
    named_views = list(zip(views, images, strict=True))
    facts = {
        "format_version": shards.FORMAT_VERSION,
        "rules_version": extract_rois.RULES_VERSION,
        "name": collection.name,
        # The folder in which a source writes files does not change them. Shards that were made
        # before an option was added have its default.
        "options": {
            name: value
            for name, value in options.items()
            if name != "folder" and (name, value) not in ADDED_OPTIONS
        },
        **record,
        "views": [_view_facts(view, image) for view, image in named_views],
        "stamps": sorted(
            {(image, extract_rois.file_stamp(view.image_path)) for view, image in named_views}
        ),
        "rejected": rejection_reasons,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _view_facts(view: LesionView, image: str) -> dict[str, Any]:
    facts = vars(view) | {"image_path": image, "where": ""}
    if not view.device:
        del facts["device"]  # which keeps the shards that were cached before views had a device
    return facts


def _reject_corrections(collection: Collection, rejection_reasons: Sequence[str]) -> None:
    corrected = [
        view
        for view, reason in zip(collection.views, rejection_reasons, strict=True)
        if view.note and not reason
    ]
    reject_corrected(
        collection.name, [(describe_view(v), v.note) for v in corrected], len(collection.views)
    )


def reject_corrected(name: str, corrected: Sequence[tuple[str, str]], total: int) -> None:
    """Raise InputError if any of `total` lesion views is in `corrected`, as (view, note)."""
    if corrected:
        first, note = corrected[0]
        raise InputError(
            f"{name}: strict: {len(corrected)} of {total} lesion views were corrected; the first,"
            f" {first}: {note}; correct the collection, or set config.data.strict=False"
        )


def describe_view(view: LesionView) -> str:
    """Return a lesion view with its original ids and path, for messages to the user only."""
    table = f"{view.where}: " if view.where else ""
    return f"{table}{view.image_path}: lesion {view.lesion_id} of case {view.case_id}"
