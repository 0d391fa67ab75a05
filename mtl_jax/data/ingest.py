"""From a collection on disk to its shards, made once."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.data import (
    audit,
    duplicate_patients,
    error_list,
    extract_rois,
    image_notes,
    index_records,
    patients,
    reference_standard,
    shards,
)
from mtl_jax.data.extract_collection import Outcome, extract_plan
from mtl_jax.data.ingest_plan import (
    DEFAULT_RULES,
    Plan,
    Rules,
    describe_view,
    make_plan,
    reject_repaired,
)
from mtl_jax.data.sources import SOURCES
from mtl_jax.imaging.roi import ROI_PIXELS
from mtl_jax.io import atomic
from mtl_jax.types import InputError, RoiSet

SHARD_ROIS = 2048  # 64 MiB a shard: as much as is in memory at once


def read_settings(
    data: Mapping[str, Any], folder: Path
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Rules]:
    """Background, options of each source, and rules, as `config.data` says them.

    `folder` is where the phantom writes its files, TFDS its decoded images, CBIS-DDSM its places.
    The phantom also asks which collection is the target, whose signal the others may share.
    """
    options = {name: dict(data[name]) for name in SOURCES if name in data}
    for writer in ("cbis_ddsm", "phantom", "tfds"):
        options[writer]["folder"] = folder
    options["phantom"]["target"] = data["target"]
    rules = Rules(**{field.name: data[field.name] for field in fields(Rules)})
    return dict(data["background"]), options, rules


def load(
    spec: str,
    cache: Path,
    background: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]],
    rules: Rules = DEFAULT_RULES,
) -> RoiSet:
    """Return the ROIs of the collection `spec`, 'name:path'; 'shards:PATH' opens ready shards.

    Anything else is made into `cache`/<collection>-<fingerprint>, unless it stands there already.
    `background` is {'correct': bool, 'along_mm': float, 'depth_mm': float}; `options` maps a
    source's name to its keyword arguments. InputError: anything wrong with the user's files, an
    image that cannot be used among them unless `rules.unusable` is 'leave_out', by which it costs
    its own lesions only and is named on stderr and in audit.csv; under strict rules also a repair.
    """
    name, path = _split_spec(spec)
    if name == "shards":
        rois = shards.open_shards(Path(path))
        _reject_unaccepted(rois, path, rules)
        return rois
    plan = make_plan(name, path, background, options.get(name, {}), rules)
    folder = Path(cache) / f"{plan.collection.name}-{plan.fingerprint[:12]}"
    return _open_or_make(folder, plan, rules)


def make_shards(
    spec: str,
    out: Path,
    background: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]],
    rules: Rules = DEFAULT_RULES,
) -> RoiSet:
    """As `load`, but under the plain name `out`/<collection>, for shards that travel.

    InputError if other shards stand there already: they are never overwritten.
    """
    name, path = _split_spec(spec)
    if name == "shards":
        raise InputError(f"data source {spec!r}: shards are made already; name a raw collection")
    plan = make_plan(name, path, background, options.get(name, {}), rules)
    folder = Path(out) / plan.collection.name
    rois = _open_or_make(folder, plan, rules)
    if rois.manifest.get("fingerprint") != plan.fingerprint:
        raise InputError(f"{folder}: other shards stand here; delete them or choose another folder")
    return rois


def _split_spec(spec: str) -> tuple[str, str]:
    name, _, path = spec.partition(":")
    if not name or not path:
        raise InputError(f"data source {spec!r}: write name:path, as in mini_mias:data/mini_mias")
    if name not in (*SOURCES, "shards"):
        valid = ", ".join(sorted((*SOURCES, "shards")))
        raise InputError(f"data source {spec!r}: no source {name!r}; valid ones are {valid}")
    return name, path


def _reject_unaccepted(rois: RoiSet, path: str, rules: Rules) -> None:
    """Raise InputError if shards made earlier hold what these rules would not have taken."""
    wrong = sorted(
        set(rois.index["truth_source"].tolist())
        - set(reference_standard.ACCEPTED[rules.truth_policy])
    )
    if wrong:
        raise InputError(
            f"shards:{path}: the truth of some ROIs is by {', '.join(wrong)}, which"
            f" data.truth_policy {rules.truth_policy!r} does not take; set a wider one, or make the"
            " shards again with this one"
        )
    if rules.strict:
        _reject_repaired(rois, f"shards:{path}")


def _reject_repaired(rois: RoiSet, name: str) -> None:
    unusable = rois.manifest.get("counts", {}).get("unusable", 0)
    repaired = int(np.count_nonzero(rois.index["note"] != ""))
    if unusable or repaired:
        raise InputError(
            f"{name}: strict: {repaired} of the ROIs needed a repair and {unusable} more"
            " could not be used: see its audit.csv; leave strict off, or mend the collection"
        )


def _open_or_make(folder: Path, plan: Plan, rules: Rules) -> RoiSet:
    if not folder.exists():
        plan.names.check_lookup()
        # One job at a time makes a collection: they share what is kept of its images meanwhile.
        with atomic.lock(folder.with_name(plan.collection.name)):
            if not folder.exists():
                _make(folder, plan, rules)
    rois = shards.open_shards(folder)
    plan.names.save_lookup(rois.name, plan.fingerprint)
    unusable = rois.manifest["counts"]["unusable"]
    if unusable:
        said = (
            f"{rois.name}: {unusable} of {len(rois) + unusable} lesion views are missing, as their"
            f" images cannot be used: see {folder / 'audit.csv'}, mend them, or delete the folder"
            " to try again"
        )
        if _rejects_unusable(rules):
            raise InputError(f"{said}; or set data.unusable to 'leave_out', without strict")
        print(f"mtl_jax: note: {said}", file=sys.stderr)
    if rules.strict:
        _reject_repaired(rois, str(folder))
    return rois


def _make(folder: Path, plan: Plan, rules: Rules) -> None:
    collection = plan.collection
    changed = atomic.verify_checksums(collection.root) if collection.sealed else ""
    if changed:
        raise InputError(
            f"{collection.root}: damaged: {changed} is missing, new or changed; delete the folder,"
            " and it is made again"
        )
    scratch = folder.with_name(f".{collection.name}.images")
    outcome = extract_plan(plan, scratch, rules.workers)
    _report_failures(outcome.failures, len(outcome.places), plan, rules)
    looks_like = plan.record["ids_look_like"]
    ids, images = (
        duplicate_patients.check_ids(looks_like, _written_case_ids(plan)),
        duplicate_patients.check_images(outcome.seen),
    )
    for note in [*collection.notices, *ids, *images]:
        print(f"mtl_jax: note: {collection.name}: {note}", file=sys.stderr)
    if not outcome.places:
        raise InputError(f"{collection.name}: no lesion left: {extract_rois.MAGNIFIED}")
    if rules.strict:
        corrected = [
            (
                describe_view(collection.views[number]),
                image_notes.corrections(outcome.notes[number]),
            )
            for number in sorted(outcome.places)
        ]
        repaired = [(place, note) for place, note in corrected if note]
        reject_repaired(collection.name, repaired, len(collection.views))
    _write_shards(folder, plan, outcome)
    shutil.rmtree(scratch, ignore_errors=True)


def _write_shards(folder: Path, plan: Plan, outcome: Outcome) -> None:
    collection, places = plan.collection, outcome.places
    # Notes are fixed words and numbers: hiding ids in them could hide numbers alone.
    views = [
        image_notes.add_notes(view, outcome.notes.get(number, ()))
        for number, view in enumerate(plan.views)
    ]
    table = audit.make_rows(views, plan.images, outcome.reasons, plan.record["left_out"])
    if len(table) != len(collection.views) + len(collection.left_out):
        raise ValueError(f"{collection.name}: the audit has {len(table)} rows")
    kept = sorted(places)
    taken, images = [views[number] for number in kept], [plan.images[number] for number in kept]
    unusable = len(outcome.failures)
    sentences = [
        f"{collection.name}: {note}" for note in duplicate_patients.check_images(outcome.seen)
    ]
    if unusable:
        lost = f"{unusable} lesion views could not be used: see left out"
        sentences.append(f"{collection.name}: {lost}")
    record = plan.record | {
        "decisions": plan.record["decisions"] + sentences,
        "fingerprint": plan.fingerprint,
        "counts": index_records.count_rois(table, taken, images, unusable),
        "notes": image_notes.count_notes(
            (
                audit.item_name(views[n]),
                [*image_notes.parse_notes(plan.views[n]), *outcome.notes.get(n, ())],
            )
            for n in kept
        ),
        "left_out": [(row["item"], row["reason"]) for row in table if audit.is_left_out(row)],
    }
    index = index_records.index_rows(taken, images, [places[number][2] for number in kept])
    chunks = _read_chunks([places[number][:2] for number in kept])
    people = _patient_rows(plan, kept, outcome.seen)
    shards.write(folder, collection.name, index, chunks, record, audit.format_table(table), people)


def _written_case_ids(plan: Plan) -> dict[str, str]:
    """Return the case id that is written of each patient id."""
    pairs = zip(plan.collection.views, plan.views, strict=True)
    return {own.case_id: written.case_id for own, written in pairs}


def _patient_rows(
    plan: Plan, kept: Sequence[int], seen: Sequence[duplicate_patients.ImageIdentity]
) -> list[dict[str, str]]:
    cases = {plan.views[number].case_id for number in kept}
    shown = {own: case for own, case in _written_case_ids(plan).items() if case in cases}
    headers: dict[str, set[str]] = {}
    for image in seen:
        headers.setdefault(image.case, set()).add(image.patient)
    return patients.make_rows(plan.keys, shown, headers)


def _report_failures(failures: Sequence[str], usable: int, plan: Plan, rules: Rules) -> None:
    """Names the lesions that could not be cut, or rejects to go on without them."""
    name, found = plan.collection.name, list(dict.fromkeys(failures))
    if failures and (_rejects_unusable(rules) or not usable):
        raise InputError(
            f"{name}: {len(failures)} of {usable + len(failures)} lesion views cannot be used:"
            f" {error_list.join_errors(found)}; mend {'it' if len(found) == 1 else 'them'}"
            + (", or leave such out with data.unusable 'leave_out'" if usable else "")
        )
    for failure in found[: error_list.MAX_ERRORS]:
        print(f"mtl_jax: {name}: left out: {failure}", file=sys.stderr)
    if len(found) > error_list.MAX_ERRORS:
        print(f"mtl_jax: {name}: and {len(found) - error_list.MAX_ERRORS} more", file=sys.stderr)


def _rejects_unusable(rules: Rules) -> bool:
    return rules.strict or rules.unusable == "reject"


def _read_chunks(places: Sequence[tuple[extract_rois.ImageJob, int]]) -> Iterator[np.ndarray]:
    for start in range(0, len(places), SHARD_ROIS):
        part = places[start : start + SHARD_ROIS]
        pixels = np.empty((len(part), ROI_PIXELS, ROI_PIXELS), np.int16)
        latest = None
        for row, (job, place) in enumerate(part):
            if job is not latest:
                latest, cut = job, extract_rois.extract(job)
            if cut.errors[place]:
                raise InputError(f"{job.views[0].image_path}: has changed meanwhile; start again")
            pixels[row] = cut.rois[place]
        yield pixels
