"""Provide the three phantom collections, simulated on first use and read like any other."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mtl_jax.data.sources import cbis_ddsm, manifest
from mtl_jax.data.sources.cbis_ddsm_tables import TABLES
from mtl_jax.io import atomic
from mtl_jax.phantom.collection import select_parameters, write_collection
from mtl_jax.phantom.receptor import RECEPTORS
from mtl_jax.types import Collection, InputError

GENERATOR_VERSION = 4  # raise it when the same parameters give other bytes


def read_collection(path: str, folder: Path, target: str, **settings: Any) -> Collection:
    """Return the phantom collection sfm, ddsm or dm, simulated in `folder` if it is not there.

    `settings` are those of `select_parameters`.
    """
    if path not in RECEPTORS:
        raise InputError(f"phantom: kind {path!r} is invalid: expected {', '.join(RECEPTORS)}")
    parameters = select_parameters(path, target, **settings)
    facts = json.dumps({"generator": GENERATOR_VERSION} | asdict(parameters), sort_keys=True)
    home = Path(folder) / f"phantom-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    if not home.exists():
        with atomic.lock(home):
            if not home.exists():
                with atomic.write_folder(home) as draft:
                    write_collection(draft, parameters)
                    atomic.write_checksums(draft)
    if path == "ddsm":
        collection = _read_ddsm(home)
    else:
        collection = manifest.read_collection(str(home / "manifest.csv"))
    decisions = (f"{path}: simulated with {facts}", *collection.decisions)
    return replace(
        collection, decisions=decisions, public_ids=True, has_checksums=True, namespace="phantom"
    )


def _read_ddsm(home: Path) -> Collection:
    """Return the ddsm phantom, which is written in the layout of CBIS-DDSM."""
    parts = tuple(part for part, name in TABLES.items() if (home / name).exists())
    collection = cbis_ddsm.read_collection(
        str(home), parts=parts, pixel_um=50.0, conflicts="leave_out", folder=home.parent
    )
    return replace(
        collection,
        name="ddsm",
        views=tuple(
            replace(
                view,
                collection="ddsm",
                truth_source="simulated",
                # The phantoms simulate different patients, so their ids must differ.
                case_id=view.case_id.replace("P_", "ddsm-"),
            )
            for view in collection.views
        ),
        # The reference standard of CBIS-DDSM does not apply.
        decisions=tuple(text for text in collection.decisions if "biops" not in text),
    )
