"""A Run from ROIs to scores.csv, or several in replicas: initial weights, training, the mean of
eight. No statistics but the AUC on the run's own training ROIs."""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from mtl_jax import roc
from mtl_jax.data import shards
from mtl_jax.experiments import run_data, splits
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.compute_cost import n_epochs
from mtl_jax.experiments.provenance import Provenance, digest
from mtl_jax.experiments.stages import keeps_weights
from mtl_jax.experiments.validation import make_validators
from mtl_jax.io import atomic, workdir
from mtl_jax.models import registry
from mtl_jax.models.base import init
from mtl_jax.training import checkpoint, malloc, multihost
from mtl_jax.training.fit import TrainingRun, fit
from mtl_jax.training.history import open_tensorboard
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.training.predict import predict
from mtl_jax.training.prefetch import is_on_host
from mtl_jax.training.replicas import Replicas
from mtl_jax.types import InputError, Params, RoiSet, Run
from mtl_jax.weights import Weights


def train_and_score(
    runs: Sequence[Run],
    folders: Sequence[Path],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    weights: Weights,
    c: ConfigDict,
    replicas: Replicas | None = None,
) -> None:
    """Train and score each of `runs`: one, or several that train in `replicas` together and differ
    in initialization, split, fold or subset of cases alone.

    Leaves run.json, history.jsonl, scores.csv and, where its weights are kept, checkpoint/ in each
    one's folder. scores.csv comes last: where it stands, the run is done. Of several processes, all
    train, and process 0 alone writes and scores.
    """
    begin = time.monotonic()
    malloc.trim()  # what the runs before have left
    if multihost.is_primary():
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
    run = runs[0]  # in what follows the others are as this one
    parts = run_data.make_subsets(runs, collections, split)
    pool, rois = run_data.training_dataset(parts, collections, c.stream)
    if is_on_host(pool):
        malloc.release_freed_memory()  # where ROIs are too many for memory, memory goes before time
    network = registry.build(
        weights.metadata["backbone"],
        outputs=2 * (len(run.tasks) if run.heads == "per_task" else 1),
        lrn=weights.metadata["lrn"],
        dropout=c.model.dropout,
    )
    frozen = frozen_layers(run.network)
    cached = frozen if c.feature_cache == "auto" else ()
    keep = [c.keep_weights == "all" or keeps_weights(each, c.study) for each in runs]
    train_config = c.train.copy_and_resolve_references()
    train_config.epochs = n_epochs(run, collections, split, c.train)
    provenance = Provenance(collections, split, weights, c)
    made_by = {own: provenance.record(own) for own in runs}
    multihost.assert_same(f"data, weights and settings {digest(list(made_by.values()))[:12]}")
    validated = runs if c.train.validation_epochs and multihost.is_primary() else ()
    validate = make_validators(validated, parts, collections, network, cached, c.stream)
    with contextlib.ExitStack() as boards:
        trainings = []
        for own, folder in zip(runs, folders, strict=True):
            own_key = jax.random.fold_in(jax.random.key(own.seed), own.initialization)
            init_key, train_key = jax.random.split(own_key)
            params = warm_start(init(network, init_key, c.model.initialization), weights)
            board = open_tensorboard(folder, c.train.tensorboard and multihost.is_primary())
            write = boards.enter_context(board)
            place = rois[run_data.subset_key(own)]
            validator = validate.get(own)
            origin = made_by[own], c.accept_versions
            trainings.append(
                TrainingRun(folder, params, train_key, write, place, validator, *origin)
            )
        trained = fit(
            trainings,
            pool,
            network,
            frozen,
            run.tasks,
            _task_weights(run),
            train_config,
            c.devices,
            Path(c.data.cache) / "frozen" if cached else None,
            any(keep),
            replicas,
            c.model.initialization,
        )

    training = (time.monotonic() - begin) / len(runs)

    def score(own: Run, folder: Path, params: Params, kept: bool) -> None:
        begin = time.monotonic()
        shared = run_data.subset_key(own)
        part = parts[shared]
        said = predict(network, params, pool, cached, rois[shared])
        of_learned = run_data.split_by_task(said, part.learned)
        held_out = run_data.evaluation_dataset(part, collections, c.stream)
        of_scored = run_data.split_by_task(predict(network, params, held_out, cached), part.scored)
        train_auc = {
            name: _auc(collections[name].index["label"][rows], of_learned[name])
            for name, rows in part.learned.items()
        }
        before = {checkpoint.VERSIONS_BEFORE: checkpoint.versions_before(folder / "checkpoint")}
        tables = [
            score_tables.make_scores(collections[name], rows, of_scored[name])
            for name, rows in part.scored.items()
        ]
        text = score_tables.to_csv(score_tables.concatenate(tables))
        for name in own.tasks:
            shards.reject_replaced(collections[name])
        record = _run_record(
            own, part, train_config.epochs, weights, train_auc, made_by[own] | before
        )
        record["scores_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        workdir.write_json(folder / "run.json", record)
        seconds = round(training + time.monotonic() - begin, 1)
        workdir.write_json(folder / "timing.json", {"seconds": seconds})
        atomic.write_text(folder / "scores.csv", text)
        if not kept:
            shutil.rmtree(folder / "checkpoint", ignore_errors=True)

    for each in zip(runs, folders, trained, keep, strict=True):
        multihost.on_primary(partial(score, *each))


def _run_record(
    run: Run,
    part: run_data.Subset,
    epochs_trained: int,
    weights: Weights,
    train_auc: Mapping[str, float | None],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what run.json holds."""
    return {
        "id": run.id,
        "seed": run.seed,
        "initialization": run.initialization,
        "approach": run.approach,
        "tasks": list(run.tasks),
        "network": run.network,
        "fold": run.fold,
        "split": None if run.fold is None else run.split,
        "target_cases": run.target_cases,
        "heads": run.heads,
        "task_weights": dict(zip(run.tasks, _task_weights(run), strict=True)),
        "epochs": epochs_trained,
        "rois_learned": {name: len(rows) for name, rows in part.learned.items()},
        "rois_scored": {name: len(rows) for name, rows in part.scored.items()},
        "input_mean": dict(zip(run.tasks, part.mean.tolist(), strict=True)),
        "input_std": dict(zip(run.tasks, part.std.tolist(), strict=True)),
        "frozen": list(frozen_layers(run.network)),
        "pretrained": sorted(weights.params),
        "train_auc": dict(train_auc),
        "provenance": dict(provenance),
    }


def _task_weights(run: Run) -> tuple[float, ...]:
    """Return the weight of each task in the loss."""
    return run.task_weights or (1.0,) * len(run.tasks)


def warm_start(params: Params, weights: Weights) -> Params:
    """Return `params` with the layers that `weights` holds put in; shapes may not change."""
    own = flatten_dict(params, sep="/")
    for path, value in flatten_dict(weights.params, sep="/").items():
        if path not in own or own[path].shape != value.shape:
            have = own[path].shape if path in own else "no such layer"
            raise InputError(
                f"config.weights: {path} is {value.shape}, the network's is {have}; "
                "convert the weights again with tools/convert_weights.py"
            )
        own[path] = jax.numpy.asarray(value)
    return unflatten_dict(own, sep="/")


def _auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """None where only one class is there to rank, as in an auxiliary collection of one class."""
    return roc.empirical(labels, scores).auc if len(set(labels.tolist())) == 2 else None
