"""CBIS-DDSM from the tables and DICOM files of The Cancer Imaging Archive, in any of its layouts.

Lee RS et al. (2017) "A curated mammography data set for use in computer-aided detection and
diagnosis research", Scientific Data 4:170177. Reads pixels only to find where a lesion is.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mtl_jax.data.sources import cbis_ddsm_files as files
from mtl_jax.data.sources import cbis_ddsm_masks as masks
from mtl_jax.data.sources import cbis_ddsm_tables as tables
from mtl_jax.data.sources.cbis_ddsm_tables import Row
from mtl_jax.imaging.value_checks import check_pixel_um
from mtl_jax.io import atomic
from mtl_jax.types import Collection, InputError, LesionView

CONFLICTS = ("leave_out", "malignant")
LOCATOR_VERSION = 5  # raise it when the same files give other places
_SAVE_EVERY = 100


def read_collection(
    path: str, *, parts: tuple[str, ...], pixel_um: float, conflicts: str, folder: Path
) -> Collection:
    """Return the lesion views of the chosen `parts`: mass-train, mass-test, calc-train, calc-test.

    `pixel_um` is assumed, since the files do not say it. A lesion that is malignant in one view and
    benign in the other is left out, or taken as malignant, as `conflicts` says. A patient of the
    official test set stays there: rows of the patient in a training table are left out. Places
    found once are kept in `folder`. InputError: no folder or table, a damaged table, a bad option.
    """
    root = Path(path)
    _check(root, parts, pixel_um, conflicts)
    rows = tables.read_tables(root, parts)
    leaks = _leaks(rows)
    disputed = _disputed(rows)
    found = files.find_series(
        root, {uid for row in rows for uid in (row.image, row.crop, row.mask)}
    )
    left_out = [
        (file.relative_to(root).as_posix(), "not a readable DICOM file") for file in found.damaged
    ]
    usable: list[Row] = []
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        reason = ""
        key = (row.part, row.patient, row.lesion, row.view)
        if key in seen:
            reason = "the same lesion in the same view stands above"
        elif row.patient in leaks and row.part.endswith("train"):
            reason = "the patient is in the official test set too"
        elif (row.patient, row.lesion) in disputed and conflicts == "leave_out":
            reason = "malignant in one view, benign in another"
        elif row.image not in found.series:
            reason = "the film is not in the folder"
        elif len(found.series[row.image]) != 1:
            reason = f"{len(found.series[row.image])} files where one film should be"
        elif not {row.crop, row.mask} & set(found.series):
            reason = "the mask is not in the folder"
        seen.add(key)
        if reason:
            left_out.append((row.item, reason))
        else:
            usable.append(row)
    views = []
    for row, place in zip(usable, _places(usable, found.series, Path(folder)), strict=True):
        if place.box is None:
            left_out.append((row.item, place.note))
            continue
        label = int(row.pathology == "MALIGNANT" or (row.patient, row.lesion) in disputed)
        views.append(_lesion_view(row, found.series[row.image][0], place, label, pixel_um))
    decisions = [
        *_policies(pixel_um),
        *_findings(rows, leaks, disputed, conflicts, found.found_by),
        *_repairs(views),
    ]
    decisions = tuple(f"cbis_ddsm: {text}" for text in decisions)
    return Collection("cbis_ddsm", root, tuple(views), tuple(left_out), decisions, public_ids=True)


def _check(root: Path, parts: tuple[str, ...], pixel_um: float, conflicts: str) -> None:
    valid = ", ".join(tables.TABLES)
    if not parts or not set(parts) <= set(tables.TABLES) or len(set(parts)) < len(parts):
        raise InputError(f"cbis_ddsm parts {', '.join(parts) or '()'}: some of {valid}, each once")
    if conflicts not in CONFLICTS:
        raise InputError(f"cbis_ddsm conflicts {conflicts!r}: one of {', '.join(CONFLICTS)}")
    check_pixel_um((pixel_um, pixel_um), "config.data.cbis_ddsm.pixel_um")
    if not 10 <= pixel_um <= 200:
        raise InputError(f"cbis_ddsm pixel_um {pixel_um:g}: films are scanned at 10 to 200 um")
    if not root.is_dir():
        raise InputError(f"cbis_ddsm: no such folder {root}")


def _leaks(rows: Sequence[Row]) -> set[str]:
    """Patients of a training and a test table: masses and calcifications were split apart."""
    sets = [{r.patient for r in rows if r.part.endswith(end)} for end in ("train", "test")]
    return sets[0] & sets[1]


def _disputed(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Lesions, (patient, lesion), that are malignant in one row and benign in another."""
    truths: dict[tuple[str, str], set[bool]] = {}
    for row in rows:
        truths.setdefault((row.patient, row.lesion), set()).add(row.pathology == "MALIGNANT")
    return {lesion for lesion, said in truths.items() if len(said) > 1}


def _places(
    rows: Sequence[Row], series: dict[str, list[Path]], folder: Path
) -> list[masks.LesionPlace]:
    """Return the place of each row's lesion; those found before, in the same files, are not sought
    again.

    What is kept of them names no file and no patient.
    """
    kept = folder / f".cbis_ddsm-places-{LOCATOR_VERSION}.json"
    known = _known(kept)
    places, new = [], 0
    for row in tqdm(rows, desc="cbis_ddsm: masks", unit="lesion", disable=None):
        film = series[row.image][0]
        candidates = [one for uid in sorted({row.crop, row.mask}) for one in series.get(uid, [])]
        stats = [
            (str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in (film, *candidates)
        ]
        key = hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:32]
        if key not in known:
            try:
                known[key] = masks.locate_lesion(film, candidates)
            except InputError as error:
                reason = str(error)
                for one in (film, *candidates):
                    reason = reason.replace(f"{one}: ", f"{one.name}: ")
                places.append(masks.LesionPlace(None, reason))
                continue
            new += 1
            if new % _SAVE_EVERY == 0:
                _keep(kept, known)
        places.append(known[key])
    if new:
        _keep(kept, known)
    return places


def _known(kept: Path) -> dict[str, masks.LesionPlace]:
    try:
        said, text = kept.read_text(encoding="utf-8").split("\n", 1)
        if said != _checksum(text):
            return {}
        read = json.loads(text)
        return {
            key: masks.LesionPlace(None if box is None else tuple(map(float, box)), str(note))
            for key, (box, note) in read.items()
        }
    # Whatever is wrong with a file that is not whole, the places are found again.
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep(kept: Path, known: dict[str, masks.LesionPlace]) -> None:
    with atomic.writing(kept):
        kept.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(known)
    atomic.write_text(kept, f"{_checksum(text)}\n{text}")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lesion_view(
    row: Row, image: Path, place: masks.LesionPlace, label: int, pixel_um: float
) -> LesionView:
    notes = [place.note] if place.note else []
    if label and row.pathology != "MALIGNANT":
        notes.append("benign in this view's row, malignant in another")
    return LesionView(
        collection="cbis_ddsm",
        image_path=image,
        box=place.box,
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


def _policies(pixel_um: float) -> tuple[str, ...]:
    return (
        "a case is a patient",
        "malignant lesions are proven by biopsy; not every benign one was biopsied, so all benign"
        " ones count as followed up",
        f"pixel size is not in the files; {pixel_um:g} um is assumed (data.cbis_ddsm.pixel_um),"
        " while the films were scanned at 42, 43.5 or 50 um",
        "gray is used as stored: the collection is calibrated to optical density already",
        "mask and crop are distinguished by content, not by name",
    )


def _findings(
    rows: Sequence[Row],
    leaks: set[str],
    disputed: set[tuple[str, str]],
    conflicts: str,
    found_by: Counter[str],
) -> list[str]:
    findings = []
    names = sorted({row.part for row in rows})
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            both = {r.patient for r in rows if r.part == one}
            both &= {r.patient for r in rows if r.part == other}
            if both:
                findings.append(f"{len(both)} patients are in both {one} and {other}")
    dropped = sum(row.patient in leaks and row.part.endswith("train") for row in rows)
    findings.append(
        f"patients of the official test set stay there: {dropped} training rows of {len(leaks)}"
        " such patients are left out"
    )
    listed = ", ".join(f"{patient} {lesion}" for patient, lesion in sorted(disputed)) or "none"
    policy = {"leave_out": "left out", "malignant": "taken as malignant"}[conflicts]
    findings.append(f"lesions malignant in one view and benign in another, {policy}: {listed}")
    means = ", ".join(f"{name} {count}" for name, count in sorted(found_by.items())) or "none"
    return [*findings, f"series found by: {means}"]


def _repairs(views: Sequence[LesionView]) -> list[str]:
    notes = Counter(
        part.partition(" (")[0]
        for view in views
        for part in f"{view.note}; {view.noted}".split("; ")
        if part
    )
    return [f"{note}: {count} lesion views" for note, count in sorted(notes.items())]
