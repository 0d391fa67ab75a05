"""The provenance of a run: everything that its numbers depend on.

Each run.json and each checkpoint records it. A job rejects finished runs whose provenance differs
from its own.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mtl_jax.config import add_later_settings
from mtl_jax.config_diff import changed_fields, format_changes
from mtl_jax.data import shards
from mtl_jax.experiments import splits
from mtl_jax.experiments.compute_cost import n_epochs
from mtl_jax.experiments.inner_set import draw_inner
from mtl_jax.experiments.permuted_labels import permuted_unit_labels
from mtl_jax.experiments.run_data import subset_key
from mtl_jax.io import atomic
from mtl_jax.training import software
from mtl_jax.training.checkpoint import VERSIONS_BEFORE
from mtl_jax.training.setup import FIELDS_WITHOUT_EFFECT
from mtl_jax.types import InputError, RoiSet, Run
from mtl_jax.weights import Weights

REMEDY = "finish the study with the original software and data, or name another --workdir"


class Provenance:
    """The provenance of the runs of a job: the software of this process, the weights, the training
    and scored ROIs, and the settings that affect the numbers.

    `weights` are those of each approach. Paths, devices and other settings without effect on the
    numbers are left out.
    """

    def __init__(
        self,
        collections: Mapping[str, RoiSet],
        split: splits.Split,
        weights: Mapping[str, Weights],
        c: ConfigDict,
    ) -> None:
        self._collections, self._split, self._c = collections, split, c
        self._content = {name: shards.content_digest(rois) for name, rois in collections.items()}
        keys = ("name", "backbone", "lrn", "arrays_sha256")
        self._weights = {
            approach: {key: pretrained.metadata[key] for key in keys}
            for approach, pretrained in weights.items()
        }
        self._data: dict[Any, dict[str, Any]] = {}

    def record(self, run: Run) -> dict[str, Any]:
        """Return the provenance of `run` as run.json stores it."""
        c = self._c
        train = c.train.to_dict()
        train = {k: v for k, v in train.items() if k not in (*FIELDS_WITHOUT_EFFECT, "precision")}
        train["epochs"] = n_epochs(run, self._collections, self._split, c.train)
        model = c.model.to_dict() | {"backbone": self._weights[run.approach]["backbone"]}
        record = software.record()
        record["precision"]["train"] = c.train.precision
        record["weights"] = self._weights[run.approach]
        record["data"] = self._data_digests(run) | self._label_digests(run)
        record["settings"] = {"run": asdict(run), "train": train, "model": model}
        return json.loads(json.dumps(record))  # equal to what is read back from a file

    def _data_digests(self, run: Run) -> dict[str, Any]:
        """Return digests of the collections of `run`, and of the ids of its training ROIs and of
        its scored ROIs, which also depend on the rules of exclusion."""
        shared = subset_key(run)
        key = (shared.tasks, shared.split, shared.fold, shared.target_cases, shared.initialization)
        if key not in self._data:
            training, scored = splits.run_rows(run, self._collections, self._split)
            fraction, seed = self._c.train.early_stopping.fraction, self._split.seed
            training, inner = draw_inner(run, training, self._collections, fraction, seed)
            self._data[key] = {
                "content": {name: self._content[name] for name in run.tasks},
                "learned": self._digest_ids(training),
                "scored": self._digest_ids(scored),
                **({"inner": self._digest_ids(inner)} if fraction else {}),
            }
        return self._data[key]

    def _label_digests(self, run: Run) -> dict[str, Any]:
        """Return digests of the permuted labels by collection; {} if `run` permutes none."""
        permuted = permuted_unit_labels(run, self._collections, self._split)
        digests = {name: digest(by_case) for name, by_case in permuted.items()}
        return {"permuted_labels": digests} if digests else {}

    def _digest_ids(self, rows: Mapping[str, np.ndarray]) -> str:
        """Return the SHA-256 of the sorted ids, each hashed to 16 bytes to save memory."""
        total = hashlib.sha256()
        for name in sorted(rows):
            ids = self._collections[name].index["roi_id"]
            hashes = (hashlib.blake2b(str(ids[i]).encode(), digest_size=16) for i in rows[name])
            digests = np.fromiter((hash_.digest() for hash_ in hashes), "S16", len(rows[name]))
            total.update(f"{name} {len(digests)} ".encode() + np.sort(digests).tobytes())
        return total.hexdigest()


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def reject_mixed(runs: Iterable[Run], folder: Path, job: Provenance, c: ConfigDict) -> None:
    """Raise InputError if a finished run in `folder` has another provenance than this job.

    config.accept_versions accepts other versions and another platform. On a Ray cluster the workers
    train, not this process; all their runs need the same platform.
    """
    ray_platform = None
    for run in runs:
        run_folder = folder / "runs" / run.id
        if not (run_folder / "scores.csv").exists():
            continue
        recorded = _read_provenance(run_folder, run)
        expected = job.record(run)
        if c.executor == "ray":
            ray_platform = ray_platform or recorded.get("platform")
            expected["platform"] = ray_platform
        _reject_difference(recorded, expected, run, c.accept_versions)


def summarize_provenance(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the distinct software versions and platforms of these run.json records, and whether
    there are several."""
    distinct: list[dict[str, str]] = []
    for record in records:
        recorded = record["provenance"]
        for versions in (*recorded[VERSIONS_BEFORE], software.version_of(recorded)):
            if versions not in distinct:
                distinct.append(versions)
    return {"versions": distinct, "mixed": len(distinct) > 1}


def _read_provenance(folder: Path, run: Run) -> dict[str, Any]:
    """Return the provenance in the folder of a finished run; InputError if run.json
    or scores.csv is damaged."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        recorded, scores = record.get("provenance"), record.get("scores_sha256")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: missing or damaged; delete {folder} and run the job again"
        ) from error
    if not isinstance(recorded, dict) or VERSIONS_BEFORE not in recorded:
        raise InputError(f"{path}: has no provenance; delete {folder} to train the run again")
    if scores != atomic.file_sha256(folder / "scores.csv"):
        raise InputError(
            f"{folder / 'scores.csv'}: does not match the checksum in run.json; delete {folder} and"
            " run the job again"
        )
    return recorded


def _reject_difference(
    recorded: Mapping[str, Any], expected: Mapping[str, Any], run: Run, accept_versions: bool
) -> None:
    recorded = add_later_settings(software.add_later_fields(recorded), expected)
    changes = changed_fields(recorded, expected, ignored=(VERSIONS_BEFORE,))
    if not all(map(software.may_differ, changes)):
        ordered = sorted(changes.items(), key=lambda change: software.may_differ(change[0]))
        raise InputError(
            f"run {run.id} does not match this job: {format_changes(dict(ordered))}; {REMEDY}"
        )
    if accept_versions or not (changes or recorded[VERSIONS_BEFORE]):
        return
    difference = format_changes(changes) or (
        f"trained by several versions, {_format_versions(recorded)}"
    )
    raise InputError(
        f"run {run.id} was trained with other versions: {difference}; {REMEDY}, or set "
        "--accept_versions, which marks results and report as mixed"
    )


def _format_versions(recorded: Mapping[str, Any]) -> str:
    """Return the versions of a run that changed during its training: 'optax 0.2.8, then 9.9'."""
    history = [*recorded[VERSIONS_BEFORE], software.version_of(recorded)]
    names = [name for name in history[0] if len({versions[name] for versions in history}) > 1]
    return "; ".join(f"{name} {', then '.join(v[name] for v in history)}" for name in names)
