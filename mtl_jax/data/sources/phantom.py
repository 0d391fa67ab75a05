"""The phantom: three simulated mammography collections with known truth, made where they are not.

It simulates nothing itself: the files are those of `mtl_jax.phantom`, read back through the
manifest and CBIS-DDSM like anybody's.
"""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from mtl_jax.data.sources import cbis_ddsm, manifest
from mtl_jax.data.sources.cbis_ddsm_tables import TABLES
from mtl_jax.io import atomic
from mtl_jax.phantom.collection import Parameters, write_collection
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import Collection, InputError

GENERATOR_VERSION = 3  # raise it when the same parameters give other bytes


def read_collection(
    path: str,
    folder: Path,
    target: str,
    cases: int,
    seed: int,
    difficulty: float,
    shared_signal: float,
    test_fraction: float,
    malignant_fraction: float,
) -> Collection:
    """Return the phantom of kind `path` (sfm, ddsm or dm), made under `folder` unless it is there.

    A case is one lesion in one or two views. `shared_signal` counts for the collections that are
    not the `target`: 1, their labels follow the same cues; 0, their labels are unrelated to any.
    InputError: no such kind, or the folder cannot be written.
    """
    if path not in RECEPTORS:
        raise InputError(f"phantom: no kind {path!r}; choose one of {', '.join(RECEPTORS)}")
    agreement = 1.0 if path == target else float(shared_signal)
    parameters = Parameters(
        path, cases, seed, float(difficulty), agreement, test_fraction, malignant_fraction
    )
    facts = json.dumps({"generator": GENERATOR_VERSION} | asdict(parameters), sort_keys=True)
    home = Path(folder) / f"phantom-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    if not home.exists():
        _make(home, parameters)
    found = (
        _read_films(home)
        if path == "ddsm"
        else manifest.read_collection(str(home / "manifest.csv"))
    )
    decisions = (f"{path}: simulated with {facts}", *found.decisions)
    return replace(found, decisions=decisions, public_ids=True, sealed=True, namespace="phantom")


def _read_films(home: Path) -> Collection:
    """Return the tables and films of the ddsm phantom, under its own name and truth."""
    parts = tuple(part for part, name in TABLES.items() if (home / name).exists())
    found = cbis_ddsm.read_collection(
        str(home), parts=parts, pixel_um=50.0, conflicts="leave_out", folder=home.parent
    )
    return replace(
        found,
        name="ddsm",
        views=tuple(
            replace(
                view,
                collection="ddsm",
                truth_source="simulated",
                # The three phantoms show different women: no id may stand for two of them.
                case_id=view.case_id.replace("P_", "ddsm-"),
            )
            for view in found.views
        ),
        # What CBIS-DDSM says of biopsies is not so here.
        decisions=tuple(text for text in found.decisions if "biops" not in text),
    )


def _make(home: Path, parameters: Parameters) -> None:
    """Write the collection where it is not: `home` is whole or not there."""
    with atomic.alone(home):
        if not home.exists():
            with atomic.folder(home) as draft:
                write_collection(draft, parameters)
                atomic.write_sums(draft)
