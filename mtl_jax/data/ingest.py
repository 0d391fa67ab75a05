"""Make the shards of a collection on disk, or open them if they exist."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.data import (
    audit,
    collection_checks,
    constant_rois,
    contact_sheet,
    duplicate_patients,
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
    reject_corrected,
)
from mtl_jax.data.sources import SOURCES
from mtl_jax.data.table_errors import MAX_ERRORS, join_errors
from mtl_jax.exclusion_reasons import group_by_reason
from mtl_jax.imaging.roi import RoiSettings
from mtl_jax.io import atomic
from mtl_jax.types import ROI_PIXELS, InputError, RoiSet

SHARD_ROIS = 2048  # ROIs per shard: 64 MiB, which are in memory at once


def read_settings(
    data: Mapping[str, Any], folder: Path
) -> tuple[RoiSettings, dict[str, dict[str, Any]], Rules]:
    """Return the settings of the ROIs, the options of each source and the rules from `config.data`.

    The sources that write files do so in `folder`. The phantom also needs the name of the target.
    """
    options = {name: dict(data[name]) for name in SOURCES if name in data}
    for writer in ("cbis_ddsm", "phantom", "tfds"):
        options[writer]["folder"] = folder
    options["phantom"]["target"] = data["target"]
    rules = Rules(**{field.name: data[field.name] for field in fields(Rules)})
    return RoiSettings.from_config(data), options, rules


def load(
    spec: str,
    cache: Path,
    roi: RoiSettings,
    options: Mapping[str, Mapping[str, Any]],
    rules: Rules = DEFAULT_RULES,
    contact_sheets: Path | None = None,
) -> RoiSet:
    """Return the ROIs of a collection, making its shards if they are not in the cache.

    `spec` is 'name:path' of a source, or 'shards:PATH' to open existing shards. Shards are made in
    `cache`/<collection>-<fingerprint>. `options` holds the keyword arguments of each source. With
    the shards, a contact sheet is written to `contact_sheets`/<collection>-<fingerprint>, unless it
    is None. Raises InputError if a file of the user is invalid, existing shards have another field
    of view than `roi`, or under strict rules a collection has a correction.
    """
    name, path = _split_spec(spec)
    if name == "shards":
        rois = constant_rois.leave_out(shards.open_shards(Path(path)))
        _reject_unaccepted(rois, path, rules)
        _reject_other_rois(rois, path, roi)
        return rois
    plan = make_plan(name, path, roi, options.get(name, {}), rules)
    folder = Path(cache) / f"{plan.collection.name}-{plan.fingerprint[:12]}"
    return _open_or_make(folder, plan, rules, contact_sheets)


def make_shards(
    spec: str,
    out: Path,
    roi: RoiSettings,
    options: Mapping[str, Mapping[str, Any]],
    rules: Rules = DEFAULT_RULES,
    contact_sheets: Path | None = None,
) -> RoiSet:
    """Make the shards of a collection, as `load`, in `out`/<collection>, if it holds no others."""
    name, path = _split_spec(spec)
    if name == "shards":
        raise InputError(
            f"data source {spec!r}: these are shards already; name a source collection"
        )
    plan = make_plan(name, path, roi, options.get(name, {}), rules)
    folder = Path(out) / plan.collection.name
    rois = _open_or_make(folder, plan, rules, contact_sheets)
    if rois.manifest.get("fingerprint") != plan.fingerprint:
        raise InputError(
            f"{folder}: contains shards made from other data or settings, or by an earlier version;"
            " delete it or choose another folder"
        )
    return rois


def _split_spec(spec: str) -> tuple[str, str]:
    name, _, path = spec.partition(":")
    if not name or not path:
        raise InputError(
            f"data source {spec!r}: expected name:path, as in mini_mias:data/mini_mias"
        )
    if name not in (*SOURCES, "shards"):
        valid = ", ".join(sorted((*SOURCES, "shards")))
        raise InputError(f"data source {spec!r}: no source {name!r}; expected one of {valid}")
    return name, path


def _reject_unaccepted(rois: RoiSet, path: str, rules: Rules) -> None:
    """Raise InputError if existing shards hold ROIs that these rules reject."""
    accepted = reference_standard.ACCEPTED[rules.truth_policy]
    rejected = sorted(set(rois.index["truth_source"].tolist()) - set(accepted))
    if rejected:
        raise InputError(
            f"shards:{path}: some ROIs have the reference standard {', '.join(rejected)}, which"
            f" config.data.truth_policy={rules.truth_policy!r} does not accept; set a wider one, or"
            " make the shards again with this one"
        )
    if rules.strict:
        _reject_corrected(rois, f"shards:{path}")


def _reject_other_rois(rois: RoiSet, path: str, roi: RoiSettings) -> None:
    """Raise InputError if existing shards show another field of view, or another blanked disc."""
    made = shards.roi_settings(rois.manifest)
    for field in ("extent_mm", "blank_mm"):
        have, wanted = getattr(made, field), getattr(roi, field)
        if abs(have - wanted) > 1e-6:
            raise InputError(
                f"shards:{path}: made with config.data.roi.{field}={have:g}, but this job has"
                f" {wanted:g}: set it to {have:g}, or make the shards again with {wanted:g}"
            )


def _reject_corrected(rois: RoiSet, name: str) -> None:
    counts = rois.manifest.get("counts", {})
    unusable = counts.get("unusable", 0) + counts.get("constant", 0)
    corrected = int(np.count_nonzero(rois.index["note"] != ""))
    if unusable or corrected:
        raise InputError(
            f"{name}: strict: {corrected} of the ROIs were corrected and {unusable} more"
            " could not be used: see its audit.csv; correct the collection, or set"
            " config.data.strict=False"
        )


def _open_or_make(folder: Path, plan: Plan, rules: Rules, contact_sheets: Path | None) -> RoiSet:
    if not folder.exists():
        plan.names.check_lookup()
        # Jobs that make the same collection share the cache of its images, so one runs at a time.
        with atomic.lock(folder.with_name(plan.collection.name)):
            if not folder.exists():
                _make(folder, plan, rules, contact_sheets)
    rois = shards.open_shards(folder)
    plan.names.save_lookup(rois.name, plan.fingerprint)
    unusable = rois.manifest["counts"]["unusable"]
    if unusable:
        message = (
            f"{rois.name}: {unusable} of {len(rois) + unusable} lesion views could not be used: see"
            f" {folder / 'audit.csv'}. Correct the images or rows, delete {folder} and rerun"
        )
        if _rejects_unusable(rules):
            raise InputError(f"{message}, or set {_leave_out_settings(rules)}")
        print(f"mtl_jax: note: {message}", file=sys.stderr)
    if rules.strict:
        _reject_corrected(rois, str(folder))
    return rois


def _make(folder: Path, plan: Plan, rules: Rules, contact_sheets: Path | None) -> None:
    collection = plan.collection
    changed = atomic.verify_checksums(collection.root) if collection.has_checksums else ""
    if changed:
        raise InputError(
            f"{collection.root}: damaged: {changed} is missing, new or changed; delete the folder,"
            " and it is made again"
        )
    scratch = folder.with_name(f".{collection.name}.images")
    outcome = extract_plan(plan, scratch, rules.workers, contact_sheets is not None)
    constant = list(outcome.constant.values())
    failures = outcome.failures + constant if rules.strict else outcome.failures
    _report_failures(failures, len(outcome.extracted), plan, rules)
    cases_are = collection.cases_are
    notes = [
        *collection.notices,
        *duplicate_patients.check_ids(plan.record["ids_look_like"], plan.written_ids, cases_are),
        *duplicate_patients.check_images(outcome.images, cases_are),
    ]
    for note in notes:
        print(f"mtl_jax: note: {collection.name}: {note}", file=sys.stderr)
    if not outcome.extracted:
        reason, _ = group_by_reason([("", reason) for reason in outcome.reasons])[0]
        raise InputError(f"{collection.name}: no lesion left: {reason}")
    if constant and not rules.strict:
        _print_left_out(collection.name, constant)
    if rules.strict:
        corrected = [
            (describe_view(collection.views[number]), corrections)
            for number in sorted(outcome.extracted)
            if (corrections := image_notes.split_notes(outcome.notes[number])[0])
        ]
        reject_corrected(collection.name, corrected, len(collection.views))
    if contact_sheets is not None:
        _write_contact_sheet(contact_sheets, plan, outcome)
    _write_shards(folder, plan, outcome)
    shutil.rmtree(scratch, ignore_errors=True)


def _write_contact_sheet(contact_sheets: Path, plan: Plan, outcome: Outcome) -> None:
    """Write the contact sheet and print its path; a failure is printed and does not end the job."""
    name = plan.collection.name
    try:
        page = contact_sheet.write(
            contact_sheets / f"{name}-{plan.fingerprint[:12]}", plan, outcome
        )
    # The ROIs do not depend on it, so that no fault of the sheet may cost them.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"mtl_jax: note: {name}: no contact sheet: {reason}", file=sys.stderr)
    else:
        print(f"mtl_jax: {name}: contact sheet of the images and ROIs: {page}", file=sys.stderr)


def _write_shards(folder: Path, plan: Plan, outcome: Outcome) -> None:
    collection, extracted = plan.collection, outcome.extracted
    # Ids are not hidden in notes: a note holds fixed words and numbers only, and a number may look
    # like an id.
    views = [
        image_notes.add_notes(view, outcome.notes.get(number, ()))
        for number, view in enumerate(plan.views)
    ]
    table = audit.make_rows(views, plan.images, outcome.reasons, plan.record["left_out"])
    if len(table) != len(collection.views) + len(collection.left_out):
        raise ValueError(f"{collection.name}: the audit has {len(table)} rows")
    checks = collection_checks.check_collection(
        outcome.checked_views(plan.views),
        [audit.item_name(plan.views[number]) for number in outcome.constant],
    )
    numbers = sorted(extracted)
    kept_views = [views[number] for number in numbers]
    kept_images = [plan.images[number] for number in numbers]
    unusable = len(outcome.failures)
    sentences = [
        f"{collection.name}: {note}"
        for note in duplicate_patients.check_images(outcome.images, collection.cases_are)
    ]
    if unusable:
        sentences.append(
            f"{collection.name}: {unusable} lesion views could not be used: see left out"
        )
    record = plan.record | {
        "decisions": plan.record["decisions"] + sentences,
        "fingerprint": plan.fingerprint,
        "counts": index_records.count_rois(table, kept_views, kept_images, unusable)
        | {"constant": len(outcome.constant)},
        "checks": [check.record() for check in checks],
        "notes": image_notes.count_notes(
            (
                audit.item_name(views[n]),
                [*image_notes.parse_notes(plan.views[n]), *outcome.notes.get(n, ())],
            )
            for n in numbers
        ),
        "left_out": [
            (row["item"], row["reason"]) for row in table if row["decision"] == audit.LEFT_OUT
        ],
    }
    outside = [extracted[number][2] for number in numbers]
    index = index_records.index_rows(kept_views, kept_images, outside, plan.roi)
    chunks = _read_chunks([extracted[number][:2] for number in numbers])
    patient_rows = _patient_rows(plan, numbers, outcome.images)
    table += audit.check_rows(collection.name, checks)
    shards.write(
        folder, collection.name, index, chunks, record, audit.format_table(table), patient_rows
    )


def _patient_rows(
    plan: Plan, numbers: Sequence[int], images: Sequence[duplicate_patients.ImageIdentity]
) -> list[dict[str, str]]:
    cases = {plan.views[number].case_id for number in numbers}
    written_ids = {k: case for k, case in plan.written_ids.items() if case in cases}
    headers: dict[str, set[str]] = {}
    for image in images:
        headers.setdefault(image.case, set()).add(image.patient)
    return patients.make_rows(plan.keys, written_ids, headers)


def _report_failures(failures: Sequence[str], usable: int, plan: Plan, rules: Rules) -> None:
    """List the lesion views that could not be used on stderr, or raise InputError with them."""
    name, messages = plan.collection.name, list(dict.fromkeys(failures))
    if failures and (_rejects_unusable(rules) or not usable):
        cure = f"; or set {_leave_out_settings(rules)} to leave such lesion views out"
        raise InputError(
            f"{name}: {len(failures)} of {usable + len(failures)} lesion views cannot be used:"
            f" {join_errors(messages)}" + (cure if usable else "")
        )
    _print_left_out(name, messages)


def _print_left_out(name: str, messages: Sequence[str]) -> None:
    """List the first lesion views that are left out on stderr, and the number of the others."""
    for message in messages[:MAX_ERRORS]:
        print(f"mtl_jax: {name}: left out: {message}", file=sys.stderr)
    if len(messages) > MAX_ERRORS:
        print(f"mtl_jax: {name}: and {len(messages) - MAX_ERRORS} more", file=sys.stderr)


def _rejects_unusable(rules: Rules) -> bool:
    return rules.strict or rules.unusable == "reject"


def _leave_out_settings(rules: Rules) -> str:
    """Return the settings with which unusable lesion views are left out."""
    strict = ["config.data.strict=False"] if rules.strict else []
    unusable = ["config.data.unusable='leave_out'"] if rules.unusable == "reject" else []
    return " and ".join(strict + unusable)


def _read_chunks(rois: Sequence[tuple[extract_rois.ImageJob, int]]) -> Iterator[np.ndarray]:
    """Yield the pixels of the ROIs, (job, index in the image), SHARD_ROIS of them at a time."""
    for start in range(0, len(rois), SHARD_ROIS):
        chunk = rois[start : start + SHARD_ROIS]
        pixels = np.empty((len(chunk), ROI_PIXELS, ROI_PIXELS), np.int16)
        previous = None
        for row, (job, position) in enumerate(chunk):
            if job is not previous:
                previous, image = job, extract_rois.extract(job)
            if image.errors[position]:
                raise InputError(f"{job.views[0].image_path}: changed during the job; start again")
            pixels[row] = image.rois[position]
        yield pixels
