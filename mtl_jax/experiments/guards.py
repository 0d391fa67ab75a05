"""Checks before and after the training of a study: one job, config and provenance per folder."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import environment, patient_notes
from mtl_jax.config import default
from mtl_jax.data import patients, shards
from mtl_jax.experiments import executors, leak_checks, provenance, splits
from mtl_jax.experiments.inner_set import draw_inner, reject_empty
from mtl_jax.experiments.permuted_labels import training_labels
from mtl_jax.experiments.provenance import Provenance
from mtl_jax.experiments.study_inputs import StudyInputs
from mtl_jax.io import workdir
from mtl_jax.models import registry
from mtl_jax.training import multihost
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.training.setup import reject_unknown_entries
from mtl_jax.types import GROUPS, Run


@contextlib.contextmanager
def locked_workdir(folder: Path, c: ConfigDict) -> Iterator[None]:
    """Lock `folder` for this job, and raise InputError if it is the work folder of another config.

    All processes need the same config; process 0 alone reads or writes in `folder`.
    """
    settings = c.to_dict()
    shared = {**settings, "data": {**settings["data"], "cache": "", "workers": 0}}
    multihost.assert_same(f"the config {provenance.digest(shared)[:12]}")
    with contextlib.ExitStack() as stack:
        multihost.on_primary(lambda: stack.enter_context(workdir.lock(folder)))
        multihost.on_primary(
            lambda: workdir.reject_other_config(folder, settings, default().to_dict())
        )
        yield


def record_study(
    folder: Path,
    c: ConfigDict,
    inputs: StudyInputs,
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write config.json, environment.json, and folds.json with the fields of `extra`.

    Called before any training; InputError if folds.json differs from that of an earlier job.
    Prints a note on near-duplicate ROIs and on similar patient ids.
    """
    workdir.claim(folder, c.to_dict(), default().to_dict())
    workdir.record_environment(folder, [device.device_kind for device in jax.devices()])
    collections = inputs.collections
    near_duplicates = leak_checks.find_near_duplicates_across_split(collections, inputs.split)
    if near_duplicates:
        print(leak_checks.near_duplicates_note(near_duplicates), file=sys.stderr)
    similar = patients.find_similar(list(collections.values()))
    if similar:
        print(f"mtl_jax: note: {patient_notes.similar_ids_note(similar)}", file=sys.stderr)
    record = {
        "collections": {name: shards.content_digest(rois) for name, rois in collections.items()},
        "namespaces": {name: patients.namespace_of(rois) for name, rois in collections.items()},
        "patients": {name: patients.patients_digest(rois) for name, rois in collections.items()},
        "ids_look_like": patients.guessed_namespaces(collections),
        "similar_ids": similar,
        "alike": near_duplicates,
    }
    # Without groups there is no entry, so that work folders of earlier versions stay valid.
    groups = {name: GROUPS for name, r in collections.items() if patients.cases_are(r) == GROUPS}
    record |= {"cases_are": groups} if groups else {}
    workdir.write_once(
        folder / "folds.json",
        inputs.split.record() | record | dict(extra),
        "the folds, the collections they were made from, or the primary analysis",
    )


def reject_unfit(runs: Sequence[Run], inputs: StudyInputs, c: ConfigDict) -> None:
    """Raise InputError if a run cannot be trained or evaluated."""
    reject_unknown_entries(c.train)
    for backbone in sorted({inputs.backbone(run) for run in runs}):
        registry.check(backbone)
    collections, split = inputs.collections, inputs.split
    inner_fraction = c.train.early_stopping.fraction
    for run in runs:
        registry.reject_depth(inputs.backbone(run), frozen_layers(run.network), run.id)
        splits.reject_unfit(run, collections, split)
        training, _ = splits.run_rows(run, collections, split)
        training, _ = draw_inner(run, training, collections, inner_fraction, split.seed)
        reject_empty(run, training)
        training_labels(run, training, collections, split)


def run_missing(
    runs: Sequence[Run],
    folder: Path,
    inputs: StudyInputs,
    job: Provenance,
    c: ConfigDict,
    callbacks: executors.Callbacks,
) -> None:
    """Train those of `runs` that are missing in `folder`.

    InputError if a finished run has another provenance than this job, checked before training and
    after, as another process may have written to the folder meanwhile.
    """
    multihost.on_primary(lambda: provenance.reject_mixed(runs, folder, job, c))
    environment.reject_settings()
    executors.EXECUTORS[c.executor](runs, folder, inputs, c, callbacks)
    multihost.on_primary(lambda: provenance.reject_mixed(runs, folder, job, c))
