"""The phantom: three simulated mammography collections with known truth, written as files.

It does not simulate tissue, masses or detectors itself and does no imaging: what it writes is read
back through the manifest like anybody's files.
"""

import csv
import hashlib
import json
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mtl_jax.data.sources import manifest, phantom_mass
from mtl_jax.data.sources.phantom_detector import DETECTORS, Detector, expose
from mtl_jax.data.sources.phantom_mass import Mass
from mtl_jax.data.sources.phantom_tissue import tissue
from mtl_jax.nouns import Collection, InputError

GENERATOR_VERSION = 1  # raise it when the same parameters give other bytes
REGION_MM = 36.0
TWO_VIEWS = 0.7  # share of the cases
# Distance of the classes in severity, in standard deviations, at difficulty 0.
SEPARATION = 6.0


def collection(
    path: str,
    folder: Path,
    cases: int,
    seed: int,
    difficulty: float,
    test_fraction: float,
    malignant_fraction: float,
) -> Collection:
    """The phantom of kind `path` (sfm, ddsm or dm), made under `folder` unless it is there.

    A case is one lesion in one or two views. Its bytes depend on kind, seed, its number, its class
    and `difficulty` alone; class and official split on its number and the fractions, so that more
    cases never change the earlier ones. Raises InputError.
    """
    _validate(path, cases, seed, difficulty, test_fraction, malignant_fraction)
    parameters = {
        "generator": GENERATOR_VERSION,
        "kind": path,
        "cases": cases,
        "seed": seed,
        "difficulty": float(difficulty),
        "test_fraction": float(test_fraction),
        "malignant_fraction": float(malignant_fraction),
    }
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
    home = Path(folder) / f"phantom-{digest}"
    if not home.exists():
        _make(home, parameters)
    found = manifest.collection(str(home / "manifest.csv"))
    simulated = f"{path}: simulated with {json.dumps(parameters, sort_keys=True)}"
    return replace(found, decisions=(simulated, *found.decisions), public_ids=True)


def severity(rng: np.random.Generator, malignant: bool, difficulty: float) -> float:
    """How malignant a lesion looks, 0 to 1: the only thing that differs between the classes.

    Normal before it is squashed, the classes 6 (1 - difficulty)^2 standard deviations apart, so no
    reader can beat an area under the ROC curve of Phi(6 (1 - difficulty)^2 / sqrt(2)).
    """
    shift = SEPARATION * (1 - difficulty) ** 2 * (0.5 if malignant else -0.5)
    return float(1 / (1 + np.exp(-1.2 * (shift + rng.standard_normal()))))


def simulate(
    kind: str, seed: int, case: int, malignant: bool, difficulty: float
) -> list[tuple[str, str, np.ndarray, tuple[int, int, int, int]]]:
    """The views of one case: (view, laterality, uint16 image, box of the mass in pixels)."""
    number = list(DETECTORS).index(kind)
    shared, *own = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, case, part)))
        for part in range(3)
    )
    detector = DETECTORS[kind]
    mass = _mass(shared, severity(shared, malignant, difficulty))
    density, contrast_mm = shared.beta(2.5, 3.5), shared.uniform(3.5, 8.0)
    exposure = 0.08 * shared.standard_normal()
    laterality = "LR"[shared.integers(2)]
    if shared.random() < TWO_VIEWS:
        views = ("CC", "MLO")
    else:
        views = (("CC", "MLO")[shared.integers(2)],)
    found = []
    for view, rng in zip(views, own, strict=False):
        image, box = _view(rng, detector, mass, density, contrast_mm, exposure)
        found.append((view, laterality, image, box))
    return found


def _mass(rng: np.random.Generator, severity: float) -> Mass:
    """Cues that follow the severity loosely, each in its own way; size and contrast do not."""
    cues = np.clip(severity + 0.12 * rng.standard_normal(3), 0, 1)
    diameter_mm = float(rng.uniform(6, 20))
    return Mass(
        diameter_mm=diameter_mm,
        aspect=float(rng.uniform(1.0, 1.6)),
        gain_mm=float(rng.uniform(0.6, 1.1) * (5 + 0.6 * diameter_mm)),
        irregularity=float(cues[0]),
        indistinctness=float(cues[1]),
        spiculation=float(cues[2]),
    )


def _view(
    rng: np.random.Generator,
    detector: Detector,
    mass: Mass,
    density: float,
    contrast_mm: float,
    exposure: float,
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    pixels = round(REGION_MM / detector.pixel_mm)
    around = tissue(rng, pixels, detector.pixel_mm, density, contrast_mm)
    gain, box = phantom_mass.draw(rng, mass, pixels, detector.pixel_mm)
    return expose(rng, detector, around + gain, exposure), box


def _make(home: Path, parameters: dict[str, Any]) -> None:
    """Write the collection beside its place, then rename: `home` is whole or not there."""
    draft = home.with_name(f".{home.name}-{uuid.uuid4().hex[:8]}")
    try:
        draft.mkdir(parents=True)
        _write(draft, parameters)
        draft.rename(home)
    except OSError as error:
        if not home.exists():  # else another process finished the same phantom first
            raise InputError(f"phantom: cannot write {home}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(home: Path, parameters: dict[str, Any]) -> None:
    kind = parameters["kind"]
    detector = DETECTORS[kind]
    with (home / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            "dataset modality patient_id lesion_id laterality view image_path bbox pixel_um "
            "spacing_source bits polarity truth truth_source split".split()
        )
        seen = [0, 0]
        bar = tqdm(range(parameters["cases"]), desc=f"phantom {kind}", unit="case", disable=None)
        for case in bar:
            malignant = _chosen(case, parameters["malignant_fraction"])
            test = _chosen(seen[malignant], parameters["test_fraction"])
            seen[malignant] += 1
            drawn = simulate(kind, parameters["seed"], case, malignant, parameters["difficulty"])
            for view, laterality, image, box in drawn:
                name = f"{case:05d}_{view}.pgm"
                _write_pgm(home / name, image, detector.bits)
                side = f"{1000 * detector.pixel_mm:g}"
                table.writerow(
                    (kind, detector.modality, f"{kind}-{case:05d}", "1", laterality, view, name)
                    + (";".join(map(str, box)), f"{side};{side}", "simulated", detector.bits)
                    + ("bright_dense", "malignant" if malignant else "benign", "simulated")
                    + ("test" if test else "train",)
                )


def _chosen(number: int, fraction: float) -> bool:
    """Whether item `number` is among the `fraction` chosen: any first n hold n x fraction, floored.

    A rule of the number alone gives exact proportions without looking at how many there will be.
    """
    return int((number + 1) * fraction + 1e-9) > int(number * fraction + 1e-9)


def _write_pgm(path: Path, image: np.ndarray, bits: int) -> None:
    header = f"P5\n{image.shape[1]} {image.shape[0]}\n{2**bits - 1}\n".encode()
    path.write_bytes(header + image.astype(">u2").tobytes())


def _validate(
    kind: str,
    cases: int,
    seed: int,
    difficulty: float,
    test_fraction: float,
    malignant_fraction: float,
) -> None:
    if kind not in DETECTORS:
        raise InputError(f"phantom: no kind {kind!r}; choose one of {', '.join(DETECTORS)}")
    if cases < 1:
        raise InputError(f"phantom: cases is {cases}; give at least 1")
    if seed < 0:
        raise InputError(f"phantom: seed is {seed}; give 0 or more")
    for field, value in (
        ("difficulty", difficulty),
        ("test_fraction", test_fraction),
        ("malignant_fraction", malignant_fraction),
    ):
        if not 0 <= value <= 1:
            raise InputError(f"phantom: {field} is {value}; give a number from 0 to 1")
