"""What decides the numbers of a run, as its run.json and its checkpoints record it, and that no
study mixes two.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mtl_jax.config_diff import changed_fields, format_changes
from mtl_jax.data import shards
from mtl_jax.experiments import splits
from mtl_jax.experiments.compute_cost import n_epochs
from mtl_jax.experiments.run_data import subset_key
from mtl_jax.io import atomic
from mtl_jax.training import software
from mtl_jax.training.checkpoint import VERSIONS_BEFORE
from mtl_jax.training.fit import FIELDS_WITHOUT_EFFECT
from mtl_jax.types import InputError, RoiSet, Run
from mtl_jax.weights import Weights

REMEDY = "finish the study with what began it, or name another --workdir"


class Provenance:
    """What a job records of its runs: the software of this process, the weights, the ROIs that are
    learned and scored, and the settings that decide the numbers.

    Places (data.cache, devices ...) and settings without effect on the numbers are no part of it.
    """

    def __init__(
        self,
        collections: Mapping[str, RoiSet],
        split: splits.Split,
        weights: Weights,
        c: ConfigDict,
    ) -> None:
        self._collections, self._split, self._c = collections, split, c
        self._content = {name: shards.content_digest(rois) for name, rois in collections.items()}
        card = weights.metadata
        self._weights = {key: card[key] for key in ("name", "backbone", "lrn", "arrays_sha256")}
        self._data: dict[Any, dict[str, Any]] = {}

    def record(self, run: Run) -> dict[str, Any]:
        c = self._c
        train = {k: v for k, v in c.train.items() if k not in (*FIELDS_WITHOUT_EFFECT, "precision")}
        train["epochs"] = n_epochs(run, self._collections, self._split, c.train)
        recorded = software.record()
        recorded["precision"]["train"] = c.train.precision
        recorded["weights"] = self._weights
        recorded["data"] = self._data_of(run)
        recorded["settings"] = {"run": asdict(run), "train": train, "model": c.model.to_dict()}
        return json.loads(json.dumps(recorded))  # as it comes back from a file

    def _data_of(self, run: Run) -> dict[str, Any]:
        """Digests of the collections of `run`, and of the ids of the ROIs that it learns and those
        that it scores: a changed rule of exclusion changes these alone."""
        shared = subset_key(run)
        key = (shared.tasks, shared.split, shared.fold, shared.target_cases, shared.initialization)
        if key not in self._data:
            learned, scored = splits.run_rows(run, self._collections, self._split)
            self._data[key] = {
                "content": {name: self._content[name] for name in run.tasks},
                "learned": self._digest(learned),
                "scored": self._digest(scored),
            }
        return self._data[key]

    def _digest(self, rows: Mapping[str, np.ndarray]) -> str:
        """Return SHA-256 of the sorted ids, each as 16 bytes: a million texts would take much
        memory."""
        total = hashlib.sha256()
        for name in sorted(rows):
            ids = self._collections[name].index["roi_id"]
            each = (hashlib.blake2b(str(ids[i]).encode(), digest_size=16) for i in rows[name])
            short = np.fromiter((one.digest() for one in each), "S16", len(rows[name]))
            total.update(f"{name} {len(short)} ".encode() + np.sort(short).tobytes())
        return total.hexdigest()


def digest(recorded: Any) -> str:
    """Return SHA-256 of a JSON value, for files that have to be of one provenance."""
    return hashlib.sha256(json.dumps(recorded, sort_keys=True).encode()).hexdigest()


def reject_mixed(runs: Iterable[Run], folder: Path, here: Provenance, c: ConfigDict) -> None:
    """Raise InputError if a finished run among `runs` is not what this job would record.

    With config.accept_versions, other versions and another platform are accepted. On a Ray cluster
    the workers train, not this process: their runs are of one platform among themselves.
    """
    platform = None
    for run in runs:
        place = folder / "runs" / run.id
        if not (place / "scores.csv").exists():
            continue
        there = _read_provenance(place, run)
        expected = here.record(run)
        if c.executor == "ray":
            platform = platform or there.get("platform")
            expected["platform"] = platform
        _reject_difference(there, expected, run, c.accept_versions)


def summarize_provenance(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what results.json says of the runs of these records (run.json): each combination of
    versions and platform among them, and whether there are several."""
    found: list[dict[str, str]] = []
    for record in records:
        recorded = record["provenance"]
        for version in (*recorded[VERSIONS_BEFORE], software.version_of(recorded)):
            if version not in found:
                found.append(version)
    return {"versions": found, "mixed": len(found) > 1}


def _read_provenance(place: Path, run: Run) -> dict[str, Any]:
    """Return the provenance that a finished run's folder holds, whose scores are those it was
    written with."""
    path = place / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        there, scores = record.get("provenance"), record.get("scores_sha256")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: missing or damaged; delete its folder and run the job again"
        ) from error
    if not isinstance(there, dict) or VERSIONS_BEFORE not in there:
        raise InputError(
            f"run {run.id}: its run.json has no provenance, so that nothing says what made it;"
            f" {REMEDY}"
        )
    if scores != atomic.file_sha256(place / "scores.csv"):
        raise InputError(
            f"{place / 'scores.csv'}: not the scores that run {run.id} wrote (its run.json has "
            "another checksum); delete its folder and run the job again"
        )
    return there


def _reject_difference(
    there: Mapping[str, Any], here: Mapping[str, Any], run: Run, accept_versions: bool
) -> None:
    differ = changed_fields(there, here, ignored=(VERSIONS_BEFORE,))
    if not all(map(software.may_differ, differ)):
        gravest = sorted(differ.items(), key=lambda change: software.may_differ(change[0]))
        raise InputError(
            f"run {run.id} is not of this job: {format_changes(dict(gravest))}; {REMEDY}"
        )
    if accept_versions or not (differ or there[VERSIONS_BEFORE]):
        return
    what = format_changes(differ) or f"trained by several versions, {_format_versions(there)}"
    raise InputError(
        f"run {run.id} is of other versions: {what}; {REMEDY}, or set --accept_versions, by which "
        "results and report are marked as mixed"
    )


def _format_versions(there: Mapping[str, Any]) -> str:
    """Return 'optax 0.2.8, then 9.9': what differs among the versions of one run."""
    every = [*there[VERSIONS_BEFORE], software.version_of(there)]
    names = [name for name in every[0] if len({each[name] for each in every}) > 1]
    return "; ".join(f"{name} {', then '.join(each[name] for each in every)}" for name in names)
