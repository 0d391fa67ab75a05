"""The checks that every study goes through before it trains and after: one folder, one config, one
environment, folds made once, runs that can be measured, nothing mixed.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import environment, patient_notes
from mtl_jax.data import patients, shards
from mtl_jax.experiments import executors, leak_checks, provenance, splits
from mtl_jax.experiments.provenance import Provenance
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.io import workdir
from mtl_jax.training import multihost
from mtl_jax.types import Run


@contextlib.contextmanager
def locked_workdir(folder: Path, c: ConfigDict) -> Iterator[None]:
    """Keep other jobs out of `folder`. InputError where it is the work folder of another config.

    Of several processes, all have the same config, and process 0 alone reads or writes in `folder`.
    """
    settings = c.to_dict()
    alike = {**settings, "data": {**settings["data"], "cache": "", "workers": 0}}
    multihost.assert_same(f"the config {provenance.digest(alike)[:12]}")
    with contextlib.ExitStack() as stack:
        multihost.on_primary(lambda: stack.enter_context(workdir.lock(folder)))
        multihost.on_primary(lambda: workdir.reject_other_config(folder, settings))
        yield


def record_study(
    folder: Path,
    c: ConfigDict,
    inputs: StudyInputs,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Make `folder` the work folder of `c`, once the job can begin: else it stays as it is.

    Writes config.json and environment.json; and folds.json with `more`, before any training and
    once for all. Reports near-duplicate ROIs and similar patient ids.
    """
    workdir.claim(folder, c.to_dict())
    workdir.record_environment(folder, [device.device_kind for device in jax.devices()])
    content = {name: shards.content_digest(rois) for name, rois in inputs.collections.items()}
    alike = leak_checks.find_near_duplicates(inputs.collections, inputs.split)
    if alike:
        print(leak_checks.near_duplicates_note(alike), file=sys.stderr)
    similar = patients.find_similar(list(inputs.collections.values()))
    if similar:
        print(f"mtl_jax: note: {patient_notes.similar_ids_note(similar)}", file=sys.stderr)
    collections = inputs.collections
    found = {
        "namespaces": {name: patients.namespace_of(rois) for name, rois in collections.items()},
        "patients": {name: patients.patients_digest(rois) for name, rois in collections.items()},
        "ids_look_like": patients.guessed_namespaces(collections),
        "similar_ids": similar,
        "alike": alike,
    }
    workdir.write_once(
        folder / "folds.json",
        inputs.split.record() | {"collections": content} | found | dict(more),
        "the folds, the collections they were made from, or the primary analysis",
    )


def reject_unfit(runs: Sequence[Run], inputs: StudyInputs) -> None:
    """Raise InputError if a run could not learn or not be measured."""
    for run in runs:
        splits.reject_unfit(run, inputs.collections, inputs.split)


def run_missing(
    runs: Sequence[Run],
    folder: Path,
    inputs: StudyInputs,
    here: Provenance,
    c: ConfigDict,
    finished: executors.OnFinished,
) -> None:
    """Do those of `runs` that are missing in `folder`. InputError where a run done before, or by
    another process meanwhile, is of another provenance than this job."""
    multihost.on_primary(lambda: provenance.reject_mixed(runs, folder, here, c))
    environment.reject_settings()
    executors.EXECUTORS[c.executor](runs, folder, inputs, c, finished)
    multihost.on_primary(lambda: provenance.reject_mixed(runs, folder, here, c))
