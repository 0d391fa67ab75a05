"""From a collection on disk to its shards, made once. Knows no format of any collection."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax import whole
from mtl_jax.cells import harmless
from mtl_jax.data import audit, cutting, doubles, patients, shards, truth, twins
from mtl_jax.data.plan import USUAL, Plan, Rules, make_plan, where
from mtl_jax.data.sources import SOURCES
from mtl_jax.imaging.roi import ROI_PIXELS
from mtl_jax.nouns import InputError, RoiSet

SHARD_ROIS = 2048  # 64 MiB a shard: as much as is in memory at once
ERRORS_SHOWN = 10
SHARED = "its pixels stand under more than one case: a patient would be learned and tested"


def settings(
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
    rules: Rules = USUAL,
) -> RoiSet:
    """The regions of the collection `spec`, 'name:path'; 'shards:PATH' opens ready shards.

    Anything else is made into `cache`/<collection>-<fingerprint>, unless it stands there already.
    `background` is {'correct': bool, 'along_mm': float, 'depth_mm': float}; `options` maps a
    source's name to its keyword arguments. InputError: anything wrong with the user's files, an
    image that cannot be used among them unless `rules.unusable` is 'leave_out', by which it costs
    its own lesions only and is named on stderr and in audit.csv; under strict rules also a repair.
    """
    name, path = _split(spec)
    if name == "shards":
        rois = shards.open_shards(Path(path))
        _refuse_ready(rois, path, rules)
        return rois
    plan = make_plan(name, path, background, options.get(name, {}), rules)
    folder = Path(cache) / f"{plan.collection.name}-{plan.fingerprint[:12]}"
    return _stand(folder, plan, rules)


def make(
    spec: str,
    out: Path,
    background: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]],
    rules: Rules = USUAL,
) -> RoiSet:
    """As `load`, but under the plain name `out`/<collection>, for shards that travel.

    InputError if other shards stand there already: they are never overwritten.
    """
    name, path = _split(spec)
    if name == "shards":
        raise InputError(f"data source {spec!r}: shards are made already; name a raw collection")
    plan = make_plan(name, path, background, options.get(name, {}), rules)
    folder = Path(out) / plan.collection.name
    rois = _stand(folder, plan, rules)
    if rois.manifest.get("fingerprint") != plan.fingerprint:
        raise InputError(f"{folder}: other shards stand here; delete them or choose another folder")
    return rois


def _split(spec: str) -> tuple[str, str]:
    name, _, path = spec.partition(":")
    if not name or not path:
        raise InputError(f"data source {spec!r}: write name:path, as in mini_mias:data/mini_mias")
    if name not in (*SOURCES, "shards"):
        valid = ", ".join(sorted((*SOURCES, "shards")))
        raise InputError(f"data source {spec!r}: no source {name!r}; valid ones are {valid}")
    return name, path


def _refuse_ready(rois: RoiSet, path: str, rules: Rules) -> None:
    """InputError where shards made earlier hold what these rules would not have taken."""
    wrong = sorted(set(rois.index["truth_source"].tolist()) - set(truth.TAKES[rules.truth_policy]))
    if wrong:
        raise InputError(
            f"shards:{path}: the truth of some regions is by {', '.join(wrong)}, which"
            f" data.truth_policy {rules.truth_policy!r} does not take; set a wider one, or make the"
            " shards again with this one"
        )
    unusable = rois.manifest.get("counts", {}).get("unusable", 0)
    repaired = int(np.count_nonzero(rois.index["note"] != ""))
    if rules.strict and (unusable or repaired):
        raise InputError(
            f"shards:{path}: strict: {repaired} of the regions needed a repair and {unusable} more"
            " could not be used: see its audit.csv; leave strict off, or mend the collection"
        )


def _stand(folder: Path, plan: Plan, rules: Rules) -> RoiSet:
    if not folder.exists():
        # One job at a time makes a collection: they share what is kept of its images meanwhile.
        with whole.alone(folder.with_name(plan.collection.name)):
            if not folder.exists():
                _write(folder, plan, rules)
    rois = shards.open_shards(folder)
    plan.names.save_lookup(rois.name, plan.fingerprint)
    unusable = rois.manifest["counts"]["unusable"]
    if unusable:
        said = (
            f"{rois.name}: {unusable} of {len(rois) + unusable} lesion views are missing, as their"
            f" images cannot be used: see {folder / 'audit.csv'}, mend them, or delete the folder"
            " to try again"
        )
        if _refuses(rules):
            raise InputError(f"{said}; or set data.unusable to 'leave_out', without strict")
        print(f"mtl_jax: note: {said}", file=sys.stderr)
    return rois


def _write(folder: Path, plan: Plan, rules: Rules) -> None:
    collection = plan.collection
    changed = whole.damage(collection.root) if collection.sealed else ""
    if changed:
        raise InputError(
            f"{collection.root}: damaged: {changed} is missing, new or changed; delete the folder,"
            " and it is made again"
        )
    # Each image is read once, whichever way its lesions are listed.
    by_image: dict[tuple[Path, int], list[int]] = {}
    for number, view in enumerate(collection.views):
        if not plan.reasons[number]:
            by_image.setdefault((view.image_path, view.frame), []).append(number)
    scratch = folder.with_name(f".{collection.name}.images")
    jobs = [
        cutting.job(
            [collection.views[number] for number in numbers],
            plan.background,
            shards.FORMAT_VERSION,
            scratch,
            # Ids that are published are none of a hospital's, and CBIS-DDSM's headers are its own.
            b"" if collection.public_ids else plan.keys.of_headers,
        )
        for numbers in by_image.values()
    ]
    cuts = cutting.cut_all(jobs, rules.workers, collection.name)
    seen = _seen(plan, list(by_image.values()), cuts)
    notes = [f"{collection.name}: {note}" for note in doubles.of_images(seen)]
    reasons, failures = list(plan.reasons), []
    places: dict[int, tuple[cutting.Job, int, float]] = {}
    shared = twins.shared_images(
        [cut.pixels for cut in cuts],
        [{collection.views[number].case_id for number in numbers} for numbers in by_image.values()],
    )
    for image, (job, cut, numbers) in enumerate(zip(jobs, cuts, by_image.values(), strict=True)):
        if image in shared:
            cut = cut._replace(errors=(SHARED,) * len(numbers), unreadable=True)
        for place, number in enumerate(numbers):
            if not cut.errors[place]:
                places[number] = (job, place, float(cut.outside[place]))
                continue
            reasons[number] = plan.names.failure(cut.errors[place])
            if cut.excluded:
                continue
            view = collection.views[number]
            item = str(view.image_path) if cut.unreadable else where(view)
            failures.append(f"{item}: {cut.errors[place]}")
    _account_for(failures, len(places), plan, rules)
    looks_like = plan.record["ids_look_like"]
    for note in [*doubles.of_ids(looks_like, _shown(plan)), *doubles.of_images(seen)]:
        print(f"mtl_jax: note: {collection.name}: {note}", file=sys.stderr)
    if not places:
        raise InputError(f"{collection.name}: no lesion left: {cutting.MAGNIFIED}")
    kept = sorted(places)
    table = audit.rows(plan.views, plan.images, reasons, plan.record["left_out"])
    if len(table) != len(collection.views) + len(collection.left_out):
        raise ValueError(f"{collection.name}: the audit has {len(table)} rows")
    lost = [f"{collection.name}: {len(failures)} lesion views could not be used: see left out"]
    record = plan.record | {
        "decisions": plan.record["decisions"] + notes + (lost if failures else []),
        "fingerprint": plan.fingerprint,
        "counts": _counts(table, plan, kept, len(failures)),
        "left_out": [(row["item"], row["reason"]) for row in table if audit.is_left_out(row)],
    }
    index = _index(plan, kept, [places[number][2] for number in kept])
    chunks = _chunks([places[number][:2] for number in kept])
    people = _patients(plan, kept, seen)
    shards.write(folder, collection.name, index, chunks, record, audit.text(table), people)
    shutil.rmtree(scratch, ignore_errors=True)


def _shown(plan: Plan) -> dict[str, str]:
    """The case id that is written of each patient id."""
    pairs = zip(plan.collection.views, plan.views, strict=True)
    return {own.case_id: written.case_id for own, written in pairs}


def _seen(
    plan: Plan, by_image: Sequence[Sequence[int]], cuts: Sequence[cutting.Cut]
) -> list[doubles.Seen]:
    """Each image under the names that may be written, for each case that it is of."""
    found = []
    for numbers, cut in zip(by_image, cuts, strict=True):
        for case in dict.fromkeys(plan.views[number].case_id for number in numbers):
            found.append(doubles.Seen(case, plan.images[numbers[0]], cut.pixels, cut.patient))
    return found


def _patients(
    plan: Plan, kept: Sequence[int], seen: Sequence[doubles.Seen]
) -> list[dict[str, str]]:
    cases = {plan.views[number].case_id for number in kept}
    shown = {own: case for own, case in _shown(plan).items() if case in cases}
    headers: dict[str, set[str]] = {}
    for image in seen:
        headers.setdefault(image.case, set()).add(image.patient)
    return patients.table(plan.keys, shown, headers)


def _account_for(failures: Sequence[str], usable: int, plan: Plan, rules: Rules) -> None:
    """Names the lesions that could not be cut, or refuses to go on without them."""
    name, found = plan.collection.name, list(dict.fromkeys(failures))
    if failures and (_refuses(rules) or not usable):
        raise InputError(
            f"{name}: {len(failures)} of {usable + len(failures)} lesion views cannot be used;"
            f" the first: {failures[0]}; mend it"
            + (", or leave such out with data.unusable 'leave_out'" if usable else "")
        )
    for failure in found[:ERRORS_SHOWN]:
        print(f"mtl_jax: {name}: left out: {failure}", file=sys.stderr)
    if len(found) > ERRORS_SHOWN:
        print(f"mtl_jax: {name}: and {len(found) - ERRORS_SHOWN} more", file=sys.stderr)


def _refuses(rules: Rules) -> bool:
    return rules.strict or rules.unusable == "refuse"


def _chunks(places: Sequence[tuple[cutting.Job, int]]) -> Iterator[np.ndarray]:
    for start in range(0, len(places), SHARD_ROIS):
        part = places[start : start + SHARD_ROIS]
        pixels = np.empty((len(part), ROI_PIXELS, ROI_PIXELS), np.int16)
        latest = None
        for row, (job, place) in enumerate(part):
            if job is not latest:
                latest, cut = job, cutting.cut(job)
            if cut.errors[place]:
                raise InputError(f"{job.views[0].image_path}: has changed meanwhile; start again")
            pixels[row] = cut.rois[place]
        yield pixels


def _index(plan: Plan, kept: Sequence[int], outside: Sequence[float]) -> list[dict[str, Any]]:
    index = []
    repeats: Counter[str] = Counter()
    for number, fraction in zip(kept, outside, strict=True):
        view = plan.views[number]
        top, left, bottom, right = view.box
        row, column = cutting.centre(view)
        roi_id = f"{view.collection}/{audit.item(view)}"
        repeats[roi_id] += 1
        line = {
            "roi_id": roi_id if repeats[roi_id] == 1 else f"{roi_id}-{repeats[roi_id]}",
            "label": view.label,
            "image": harmless(plan.images[number]),
            "note": harmless(view.note),
            "pixel_um_row": view.pixel_um[0],
            "pixel_um_col": view.pixel_um[1],
            "centre_row": round(row, 3),
            "centre_col": round(column, 3),
            "height_mm": round((bottom - top) * view.pixel_um[0] / 1000, 4),
            "width_mm": round((right - left) * view.pixel_um[1] / 1000, 4),
            "outside": round(fraction, 6),
        }
        same = {column: getattr(view, column) for column in shards.COLUMNS if hasattr(view, column)}
        index.append(same | line)
    return index


def _counts(
    table: Sequence[Mapping[str, Any]], plan: Plan, kept: Sequence[int], unusable: int
) -> dict[str, int]:
    """Malignant and benign count lesions, not views; unusable views are among those left out."""
    views = [plan.views[number] for number in kept]
    lesions = {(view.case_id, view.lesion_id): view.label for view in views}
    malignant = sum(lesions.values())
    return {
        "images": len({(plan.images[number], plan.views[number].frame) for number in kept}),
        "rois": len(views),
        "lesions": len(lesions),
        "cases": len({view.case_id for view in views}),
        "malignant": malignant,
        "benign": len(lesions) - malignant,
        "repaired": sum(bool(view.note) for view in views),
        "left_out": len(table) - len(views),
        "unusable": unusable,
    }
