"""A whole phantom collection written to a folder: DICOM files and the table that lists them.

`sfm` and `dm` have a manifest (docs/manifest.md), `ddsm` the tables of CBIS-DDSM with masks and
crops.
"""

import csv
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mtl_jax.phantom import dicom
from mtl_jax.phantom.case import Case, make_generator, simulate_case
from mtl_jax.phantom.receptor import RECEPTORS

Row = tuple[object, ...]

MANIFEST_HEADER: Row = (
    *("dataset", "modality", "patient_id", "lesion_id", "laterality", "view", "image_path", "bbox"),
    *("pixel_um", "truth", "truth_source", "split"),
)
CBIS_HEADER: Row = (
    *("patient_id", "breast_density", "left or right breast", "image view", "abnormality id"),
    *("abnormality type", "mass shape", "mass margins", "assessment", "pathology", "subtlety"),
    *("image file path", "cropped image file path", "ROI mask file path"),
)
CBIS_TABLES = {split: f"mass_case_description_{split}_set.csv" for split in ("train", "test")}
CBIS_SPLITS = {"train": "Training", "test": "Test"}
APPEARANCE_PART = 3  # of a case's random numbers: 0 to 2 are those of its images


@dataclass(frozen=True)
class Parameters:
    """All that decides the bytes of a collection. `agreement` is the share of the cases of which
    the label follows what the mass looks like; that of the others is unrelated to it."""

    kind: str
    cases: int
    seed: int
    difficulty: float
    agreement: float
    test_fraction: float
    malignant_fraction: float


@dataclass(frozen=True)
class CasePlan:
    """What is decided of a case before it is drawn."""

    number: int
    malignant: bool  # its label
    looks_malignant: bool
    split: str


def plan_cases(p: Parameters) -> list[CasePlan]:
    """Labels and splits in exact proportion, by rules of the number alone: more cases never change
    the earlier ones."""
    found, seen = [], [0, 0]
    for number in range(p.cases):
        malignant = _chosen(number, p.malignant_fraction)
        test = _chosen(seen[malignant], p.test_fraction)
        seen[malignant] += 1
        follows, other = make_generator(p.kind, p.seed, number, APPEARANCE_PART).random(2)
        looks = malignant if follows < p.agreement else bool(other < p.malignant_fraction)
        found.append(CasePlan(number, malignant, looks, "test" if test else "train"))
    return found


def write_collection(home: Path, p: Parameters, workers: int | None = None) -> None:
    """Write the collection into the folder `home`, which must be there.

    `workers` threads (None: one a processor) work side by side and change no byte. Besides the
    images and their table, truth.csv holds what each lesion was made from.
    """
    work = _cbis_case if p.kind == "ddsm" else _manifest_case
    todo = plan_cases(p)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        done = pool.map(lambda fate: work(home, p, fate), todo)
        bar = tqdm(done, total=p.cases, desc=f"phantom {p.kind}", unit="case", disable=None)
        rows, truth = zip(*bar, strict=True)
    if p.kind == "ddsm":
        for split, name in CBIS_TABLES.items():
            own = [r for fate, r in zip(todo, rows, strict=True) if fate.split == split]
            if own:
                _write_table(home / name, CBIS_HEADER, own)
    else:
        _write_table(home / "manifest.csv", MANIFEST_HEADER, rows)
    _write_table(home / "truth.csv", tuple(truth[0]), [[tuple(one.values())] for one in truth])


def _manifest_case(home: Path, p: Parameters, fate: CasePlan) -> tuple[list[Row], dict[str, Any]]:
    case = simulate_case(p.kind, p.seed, fate.number, fate.looks_malignant, p.difficulty)
    patient = f"{p.kind}-{fate.number:05d}"
    make = dicom.digital if p.kind == "dm" else dicom.film
    rows: list[Row] = []
    for view in case.views:
        name = f"{fate.number:05d}_{view.view}.dcm"
        dicom.write(home / name, make(p.kind, p.seed, patient, case.breast, view))
        rows.append(
            (p.kind, RECEPTORS[p.kind].modality, patient, 1, case.breast.laterality, view.view)
            # The header says the pixel size.
            + (name, ";".join(map(str, view.box)), "")
            + ("malignant" if fate.malignant else "benign", "simulated", fate.split)
        )
    return rows, _truth(patient, fate, case)


def _cbis_case(home: Path, p: Parameters, fate: CasePlan) -> tuple[list[Row], dict[str, Any]]:
    """Folders as CBIS-DDSM has them: film, and crop and mask together, each in its series."""
    case = simulate_case(p.kind, p.seed, fate.number, fate.looks_malignant, p.difficulty)
    patient = f"P_{fate.number:05d}"
    side = {"L": "LEFT", "R": "RIGHT"}[case.breast.laterality]
    rows: list[Row] = []
    for view in case.views:
        folder = f"Mass-{CBIS_SPLITS[fate.split]}_{patient}_{side}_{view.view}"
        study, series = (dicom.make_uid(str(p.seed), folder, name) for name in ("study", "film"))
        film = dicom.film(p.kind, p.seed, folder, case.breast, view, study, series)
        place = f"{folder}/{study}/{series}/000000.dcm"
        dicom.write(home / place, film)
        study, series = (dicom.make_uid(str(p.seed), folder, name) for name in ("roi", "lesion"))
        lesion = f"{folder}_1/{study}/{series}"
        top, left, bottom, right = view.box
        crop = view.stored[top:bottom, left:right]
        mask = np.uint8(255) * view.body.astype(np.uint8)
        bits = RECEPTORS[p.kind].bits
        parts = (("crop", crop, bits, "000000.dcm"), ("mask", mask, 8, "000001.dcm"))
        for name, pixels, depth, file in parts:
            header = dicom.derived(film, name, pixels, depth, study, series)
            dicom.write(home / lesion / file, header)
        rows.append(
            (patient, 1 + int(4 * case.breast.density), side, view.view, 1, "mass")
            + (*_words(case), 5 if case.mass.spiculation > 0.5 else 4)
            + ("MALIGNANT" if fate.malignant else "BENIGN", 4)
            + (place, f"{lesion}/000000.dcm", f"{lesion}/000001.dcm")
        )
    return rows, _truth(patient, fate, case)


def _words(case: Case) -> tuple[str, str]:
    """Shape and margins in the collection's words."""
    lesion = case.mass
    shape = "OVAL" if lesion.aspect > 1.2 else "ROUND"
    margins = "ILL_DEFINED" if lesion.indistinctness > 0.5 else "CIRCUMSCRIBED"
    return (
        "IRREGULAR" if lesion.irregularity > 0.5 else shape,
        "SPICULATED" if lesion.spiculation > 0.5 else margins,
    )


def _truth(patient: str, fate: CasePlan, case: Case) -> dict[str, Any]:
    facts = asdict(case.mass) | case.breast._asdict()
    rounded = {name: round(x, 4) if isinstance(x, float) else x for name, x in facts.items()}
    looks = {"malignant": fate.malignant, "looks_malignant": fate.looks_malignant}
    return {"case": patient, "split": fate.split} | {
        name: int(x) if isinstance(x, bool) else x for name, x in (looks | rounded).items()
    }


def _write_table(path: Path, header: Row, rows: Sequence[Sequence[Row]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(row for part in rows for row in part)


def _chosen(number: int, fraction: float) -> bool:
    """Return whether item `number` is among the `fraction` chosen: any first n hold n x fraction,
    floored.

    A rule of the number alone gives exact proportions without looking at how many there will be.
    """
    return int((number + 1) * fraction + 1e-9) > int(number * fraction + 1e-9)
