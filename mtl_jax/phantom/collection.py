"""Write a phantom collection to a folder: DICOM files and the tables that list them.

`sfm` and `dm` have a manifest (docs/manifest.md), `ddsm` the tables of CBIS-DDSM with masks and
crops.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.io.csv_safe import format_csv
from mtl_jax.io.progress import Bar
from mtl_jax.phantom import dicom
from mtl_jax.phantom.case import Case, make_generator, simulate_case
from mtl_jax.phantom.mass import Mass
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
APPEARANCE_PART = 3  # of the random numbers of a case; parts 0 to 2 are those of its images


@dataclass(frozen=True)
class Parameters:
    """Parameters that determine every byte of a collection.

    `agreement` is the fraction of cases whose label follows the appearance of the mass; the labels
    of the others are independent of it.
    """

    kind: str
    cases: int
    seed: int
    difficulty: float
    agreement: float
    test_fraction: float
    malignant_fraction: float


def select_parameters(
    kind: str,
    target: str,
    cases: int,
    target_cases: int | None,
    seed: int,
    difficulty: float,
    shared_signal: float,
    test_fraction: float,
    malignant_fraction: float,
) -> Parameters:
    """Return the parameters of the collection `kind` in a study of `target`.

    A case is one lesion in one or two views. There are `cases` in each collection, and
    `target_cases` in the target unless that is None. `difficulty` is 0 (classes separated) to 1 (no
    difference between the classes). The labels of the target follow the appearance; so do those of
    the others if `shared_signal` is 1, and they are random if it is 0.
    """
    is_target = kind == target
    return Parameters(
        kind,
        target_cases if is_target and target_cases is not None else cases,
        seed,
        float(difficulty),
        1.0 if is_target else float(shared_signal),
        test_fraction,
        malignant_fraction,
    )


@dataclass(frozen=True)
class CasePlan:
    """Label, appearance and split of a case."""

    number: int
    malignant: bool
    looks_malignant: bool
    split: str


def plan_cases(p: Parameters) -> list[CasePlan]:
    """Return labels and splits in exact proportions, which depend on the case number only."""
    plans, n_of_class = [], [0, 0]
    for number in range(p.cases):
        malignant = _is_selected(number, p.malignant_fraction)
        test = _is_selected(n_of_class[malignant], p.test_fraction)
        n_of_class[malignant] += 1
        follows, random_label = make_generator(p.kind, p.seed, number, APPEARANCE_PART).random(2)
        if follows < p.agreement:
            looks_malignant = malignant
        else:
            looks_malignant = bool(random_label < p.malignant_fraction)
        plans.append(CasePlan(number, malignant, looks_malignant, "test" if test else "train"))
    return plans


def write_collection(home: Path, p: Parameters, workers: int | None = None) -> None:
    """Write DICOM files, their table, and truth.csv with the parameters of each view to a folder.

    The files do not depend on the number of threads, `workers`.
    """
    write_case = _write_cbis_case if p.kind == "ddsm" else _write_manifest_case
    plans = plan_cases(p)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        results = pool.map(lambda plan: write_case(home, p, plan), plans)
        written = []
        with Bar(f"phantom {p.kind}", p.cases, "case") as bar:
            for result in results:
                written.append(result)
                bar.update()
        rows, truth = zip(*written, strict=True)
    if p.kind == "ddsm":
        for split, name in CBIS_TABLES.items():
            split_rows = [r for plan, r in zip(plans, rows, strict=True) if plan.split == split]
            if split_rows:
                _write_table(home / name, CBIS_HEADER, split_rows)
    else:
        _write_table(home / "manifest.csv", MANIFEST_HEADER, rows)
    truth_rows = [[tuple(facts.values()) for facts in views] for views in truth]
    _write_table(home / "truth.csv", tuple(truth[0][0]), truth_rows)


def _write_manifest_case(
    home: Path, p: Parameters, plan: CasePlan
) -> tuple[list[Row], list[dict[str, Any]]]:
    case = simulate_case(p.kind, p.seed, plan.number, plan.looks_malignant, p.difficulty)
    patient = f"{p.kind}-{plan.number:05d}"
    make_image = dicom.make_digital if p.kind == "dm" else dicom.make_film
    rows: list[Row] = []
    for view in case.views:
        name = f"{plan.number:05d}_{view.view}.dcm"
        dicom.write(home / name, make_image(p.kind, p.seed, patient, case.breast, view))
        rows.append(
            (p.kind, RECEPTORS[p.kind].modality, patient, 1, case.breast.laterality, view.view)
            # pixel_um is empty, because the header states it.
            + (name, ";".join(map(str, view.box)), "")
            + ("malignant" if plan.malignant else "benign", "simulated", plan.split)
        )
    return rows, _truth(patient, plan, case)


def _write_cbis_case(
    home: Path, p: Parameters, plan: CasePlan
) -> tuple[list[Row], list[dict[str, Any]]]:
    """Write the folders of CBIS-DDSM: a series of the film, and one of crop and mask."""
    case = simulate_case(p.kind, p.seed, plan.number, plan.looks_malignant, p.difficulty)
    patient = f"P_{plan.number:05d}"
    side = {"L": "LEFT", "R": "RIGHT"}[case.breast.laterality]
    rows: list[Row] = []
    for view in case.views:
        folder = f"Mass-{CBIS_SPLITS[plan.split]}_{patient}_{side}_{view.view}"
        study, series = (dicom.make_uid(str(p.seed), folder, name) for name in ("study", "film"))
        film = dicom.make_film(p.kind, p.seed, folder, case.breast, view, study, series)
        film_path = f"{folder}/{study}/{series}/000000.dcm"
        dicom.write(home / film_path, film)
        study, series = (dicom.make_uid(str(p.seed), folder, name) for name in ("roi", "lesion"))
        lesion = f"{folder}_1/{study}/{series}"
        top, left, bottom, right = view.box
        crop = view.stored[top:bottom, left:right]
        mask = np.uint8(255) * view.mark.astype(np.uint8)
        bits = RECEPTORS[p.kind].bits
        parts = (("crop", crop, bits, "000000.dcm"), ("mask", mask, 8, "000001.dcm"))
        for name, pixels, depth, file in parts:
            header = dicom.make_derived(film, name, pixels, depth, study, series)
            dicom.write(home / lesion / file, header)
        rows.append(
            (patient, 1 + int(4 * case.breast.density), side, view.view, 1, "mass")
            + (*_shape_and_margins(view.mass), 5 if view.mass.spiculation > 0.5 else 4)
            + ("MALIGNANT" if plan.malignant else "BENIGN", 4)
            + (film_path, f"{lesion}/000000.dcm", f"{lesion}/000001.dcm")
        )
    return rows, _truth(patient, plan, case)


def _shape_and_margins(mass: Mass) -> tuple[str, str]:
    """Return shape and margins in the terms of CBIS-DDSM."""
    shape = "OVAL" if mass.aspect > 1.2 else "ROUND"
    margins = "ILL_DEFINED" if mass.indistinctness > 0.5 else "CIRCUMSCRIBED"
    return (
        "IRREGULAR" if mass.irregularity > 0.5 else shape,
        "SPICULATED" if mass.spiculation > 0.5 else margins,
    )


def _truth(patient: str, plan: CasePlan, case: Case) -> list[dict[str, Any]]:
    """Return the parameters of each view; the descriptors are those that the view shows."""
    rows = []
    for view in case.views:
        facts = {"malignant": plan.malignant, "looks_malignant": plan.looks_malignant}
        facts |= {"severity": case.severity} | asdict(view.mass) | case.breast._asdict()
        rounded = {name: round(x, 4) if isinstance(x, float) else x for name, x in facts.items()}
        values = {name: int(x) if isinstance(x, bool) else x for name, x in rounded.items()}
        rows.append({"case": patient, "view": view.view, "split": plan.split} | values)
    return rows


def _write_table(path: Path, header: Row, rows: Sequence[Sequence[Row]]) -> None:
    text = format_csv(header, (row for part in rows for row in part))
    path.write_text(text, encoding="utf-8", newline="")


def _is_selected(number: int, fraction: float) -> bool:
    """Return whether item `number` is selected; of the first n items, floor(n x fraction) are."""
    return int((number + 1) * fraction + 1e-9) > int(number * fraction + 1e-9)
