"""Read CBIS-DDSM from The Cancer Imaging Archive in any layout of its tables and DICOM files.

Lee RS et al. (2017) "A curated mammography data set for use in computer-aided detection and
diagnosis research", Scientific Data 4:170177.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from mtl_jax.data.image_notes import describe_notes
from mtl_jax.data.sources import cbis_ddsm_files as files
from mtl_jax.data.sources import cbis_ddsm_masks as masks
from mtl_jax.data.sources import cbis_ddsm_tables as tables
from mtl_jax.data.sources import disputed_lesions
from mtl_jax.data.sources.cbis_ddsm_tables import Row
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.io import atomic
from mtl_jax.io.progress import Bar
from mtl_jax.types import Collection, InputError, LesionView

CONFLICTS = ("leave_out", "malignant")
LOCATOR_VERSION = 5  # increment it when the located boxes change
_SAVE_INTERVAL = 100  # lesions


def read_collection(
    path: str, *, parts: tuple[str, ...], pixel_um: float, conflicts: str, folder: Path
) -> Collection:
    """Return the lesion views of the chosen parts: mass-train, mass-test, calc-train, calc-test.

    Rows of training tables whose patient is in the official test set are left out.
    `pixel_um` is assumed, because the files do not state it. A lesion that is malignant in one view
    and benign in another is left out or malignant, as `conflicts` states. `folder` caches the
    locations of lesions.
    """
    root = Path(path)
    _check_options(root, parts, pixel_um, conflicts)
    rows = tables.read_tables(root, parts)
    # Patients can be in both, because masses and calcifications were split separately.
    in_train, in_test = (
        {row.patient for row in rows if row.part.endswith(split)} for split in ("train", "test")
    )
    shared_patients = in_train & in_test
    disputed = disputed_lesions.disputed_lesions(
        ((row.patient, row.lesion), int(row.pathology == "MALIGNANT")) for row in rows
    )
    uids = {uid for row in rows for uid in (row.image, row.crop, row.mask)}
    series_files = files.find_series(root, uids)
    series = series_files.series
    left_out = [
        (file.relative_to(root).as_posix(), "not a readable DICOM file")
        for file in series_files.damaged
    ]
    excluded = disputed if conflicts == "leave_out" else set()
    usable, unusable = _select_rows(rows, series, shared_patients, excluded)
    left_out += unusable
    views = []
    locations = _locate_lesions(usable, series, Path(folder))
    for row, location in zip(usable, locations, strict=True):
        if location.box is None:
            left_out.append((row.item, location.note))
            continue
        label = int(row.pathology == "MALIGNANT" or (row.patient, row.lesion) in disputed)
        views.append(_lesion_view(row, series[row.image][0], location, label, pixel_um))
    decisions = [
        *_fixed_decisions(pixel_um),
        *_describe_patients(rows, shared_patients),
        *_describe_lesions(disputed, conflicts, series_files.found_by),
        *describe_notes(views),
    ]
    decisions = tuple(f"cbis_ddsm: {text}" for text in decisions)
    return Collection("cbis_ddsm", root, tuple(views), tuple(left_out), decisions, public_ids=True)


def _select_rows(
    rows: Sequence[Row],
    series: dict[str, list[Path]],
    shared_patients: set[str],
    excluded: set[tuple[str, str]],
) -> tuple[list[Row], list[tuple[str, str]]]:
    """Return the usable rows, and (item, reason) of the others; `excluded` are disputed lesions."""
    usable: list[Row] = []
    left_out: list[tuple[str, str]] = []
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        reason = ""
        key = (row.part, row.patient, row.lesion, row.view)
        if key in seen:
            reason = "duplicate of an earlier row: same lesion, same view"
        elif row.patient in shared_patients and row.part.endswith("train"):
            reason = "the patient is in the official test set too"
        elif (row.patient, row.lesion) in excluded:
            reason = disputed_lesions.REASON
        elif row.image not in series:
            reason = "the film is not in the folder"
        elif len(series[row.image]) != 1:
            reason = f"expected one file of the film, found {len(series[row.image])}"
        elif not {row.crop, row.mask} & set(series):
            reason = "the mask is not in the folder"
        seen.add(key)
        if reason:
            left_out.append((row.item, reason))
        else:
            usable.append(row)
    return usable, left_out


def _check_options(root: Path, parts: tuple[str, ...], pixel_um: float, conflicts: str) -> None:
    config = "config.data.cbis_ddsm"
    if not parts or not set(parts) <= set(tables.TABLES) or len(set(parts)) < len(parts):
        raise InputError(
            f"{config}.parts={parts} is invalid: expected some of {', '.join(tables.TABLES)}, each"
            " once"
        )
    if conflicts not in CONFLICTS:
        expected = ", ".join(CONFLICTS)
        raise InputError(f"{config}.conflicts={conflicts!r} is invalid: expected one of {expected}")
    check_pixel_um((pixel_um, pixel_um), f"{config}.pixel_um")
    if not 10 <= pixel_um <= 200:
        raise InputError(f"{config}.pixel_um={pixel_um:g} is invalid: expected 10 to 200 um")
    if not root.is_dir():
        raise InputError(f"cbis_ddsm: no such folder {root}")


def _locate_lesions(
    rows: Sequence[Row], series: dict[str, list[Path]], folder: Path
) -> list[masks.LesionLocation]:
    """Return the location of each lesion, cached in `folder` without names of files or patients."""
    cache_path = folder / f".cbis_ddsm-places-{LOCATOR_VERSION}.json"
    cache = _load_cache(cache_path)
    locations, n_new = [], 0
    with Bar("cbis_ddsm: masks", len(rows), "lesion") as bar:
        for row in rows:
            bar.update()
            film = series[row.image][0]
            uids = sorted({row.crop, row.mask})
            candidates = [file for uid in uids for file in series.get(uid, [])]
            key = _cache_key([film, *candidates])
            if key not in cache:
                try:
                    cache[key] = masks.locate_lesion(film, candidates)
                except InputError as error:
                    reason = str(error)
                    for file in (film, *candidates):
                        reason = reason.replace(f"{file}: ", f"{file.name}: ")
                    locations.append(masks.LesionLocation(None, reason))
                    continue
                n_new += 1
                if n_new % _SAVE_INTERVAL == 0:
                    _save_cache(cache_path, cache)
            locations.append(cache[key])
    if n_new:
        _save_cache(cache_path, cache)
    return locations


def _cache_key(paths: Iterable[Path]) -> str:
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:32]


def _load_cache(path: Path) -> dict[str, masks.LesionLocation]:
    try:
        checksum, text = path.read_text(encoding="utf-8").split("\n", 1)
        if checksum != _checksum(text):
            return {}
        return {
            key: masks.LesionLocation(None if box is None else tuple(map(float, box)), str(note))
            for key, (box, note) in json.loads(text).items()
        }
    # The locations in a damaged cache are computed again.
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save_cache(path: Path, cache: dict[str, masks.LesionLocation]) -> None:
    atomic.make_folder(path.parent)
    text = json.dumps(cache)
    atomic.write_text(path, f"{_checksum(text)}\n{text}")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lesion_view(
    row: Row, image: Path, location: masks.LesionLocation, label: int, pixel_um: float
) -> LesionView:
    notes = [location.note] if location.note else []
    if label and row.pathology != "MALIGNANT":
        notes.append("benign in this view's row, malignant in another")
    return LesionView(
        collection="cbis_ddsm",
        image_path=image,
        box=location.box,
        case_id=row.patient,
        lesion_id=row.lesion,
        view=row.view,
        laterality=row.side[0],
        modality="SFM",
        label=label,
        truth_source="biopsy" if label else "followup",
        pixel_um=(pixel_um, pixel_um),
        spacing_source="assumed",
        split=row.part.partition("-")[2],
        note="; ".join(notes),
        noted=row.noted,
        where=row.where,
    )


def _fixed_decisions(pixel_um: float) -> tuple[str, ...]:
    return (
        "a case is a patient",
        "malignant lesions are proven by biopsy; some benign ones were not biopsied, so the"
        " reference standard of all benign ones is follow-up",
        f"pixel size is not in the files; {pixel_um:g} um is assumed (data.cbis_ddsm.pixel_um),"
        " while the films were scanned at 42, 43.5 or 50 um",
        "gray is used as stored: the collection is already calibrated to optical density",
        "mask and crop are identified by content, not by name",
    )


def _describe_patients(rows: Sequence[Row], shared_patients: set[str]) -> list[str]:
    patients = {
        part: {r.patient for r in rows if r.part == part} for part in {r.part for r in rows}
    }
    sentences = [
        f"{len(patients[first] & patients[second])} patients are in both {first} and {second}"
        for first, second in combinations(sorted(patients), 2)
        if patients[first] & patients[second]
    ]
    n_rows = sum(row.patient in shared_patients and row.part.endswith("train") for row in rows)
    return [
        *sentences,
        f"patients of the official test set stay there: {n_rows} training rows of"
        f" {len(shared_patients)} such patients are left out",
    ]


def _describe_lesions(
    disputed: set[tuple[str, str]], conflicts: str, found_by: Counter[str]
) -> list[str]:
    listed = ", ".join(f"{patient} {lesion}" for patient, lesion in sorted(disputed)) or "none"
    policy = {"leave_out": "left out", "malignant": "labelled malignant"}[conflicts]
    methods = ", ".join(f"{name} {count}" for name, count in sorted(found_by.items())) or "none"
    return [
        f"lesions malignant in one view and benign in another, {policy}: {listed}",
        f"series found by: {methods}",
    ]
