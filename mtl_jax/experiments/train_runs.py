"""Train runs, one or several together as replicas, and write their scores and records."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from mtl_jax import roc
from mtl_jax.data import shards
from mtl_jax.experiments import run_data, splits
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments.compute_cost import n_epochs
from mtl_jax.experiments.permuted_labels import permuted_tasks
from mtl_jax.experiments.provenance import Provenance, digest
from mtl_jax.experiments.stages import keeps_weights
from mtl_jax.experiments.validation import (
    InnerLoss,
    Validate,
    make_inner_losses,
    make_validators,
)
from mtl_jax.io import atomic, workdir
from mtl_jax.models import registry
from mtl_jax.models.base import Network, init
from mtl_jax.training import checkpoint, malloc, multihost
from mtl_jax.training.dataset import Dataset
from mtl_jax.training.early_stopping import LOSS, EarlyStopping
from mtl_jax.training.fit import fit
from mtl_jax.training.optimizer import frozen_layers
from mtl_jax.training.predict import predict
from mtl_jax.training.prefetch import is_on_host
from mtl_jax.training.replicas import Replicas
from mtl_jax.training.setup import Training, TrainingRun
from mtl_jax.types import ROI_PIXELS, InputError, Params, RoiSet, Run
from mtl_jax.weights import Weights


class _Setup(NamedTuple):
    """What runs that train together share; `subsets` and `rois` by `subset_key`."""

    collections: Mapping[str, RoiSet]
    weights: Weights
    config: ConfigDict
    train_config: ConfigDict  # config.train with the number of epochs of these runs
    network: Network
    cached: tuple[str, ...]  # layers in the frozen-feature cache
    subsets: Mapping[Run, run_data.Subset]
    dataset: Dataset  # the training sets of all runs
    rois: Mapping[Run, range]  # each training set in the dataset
    provenance: Mapping[Run, Mapping[str, Any]]


def train_and_score(
    runs: Sequence[Run],
    folders: Sequence[Path],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    weights: Mapping[str, Weights],
    c: ConfigDict,
    replicas: Replicas | None = None,
    *,
    on_phase: Callable[[str], object] = lambda phase: None,
    on_steps: Callable[[int], object] = lambda completed: None,
) -> None:
    """Train and score one run, or several that train together in `replicas`.

    `weights` are those of each approach. Several runs may differ only in initialization, partition,
    fold or subset of the cases. The folder of each run then has run.json, history.jsonl,
    timing.json, scores.csv and, if its weights are kept, checkpoint/. scores.csv is written last: a
    run that has it is finished. All processes train; process 0 alone scores and writes.

    `on_phase` is called with the name of what is done next, `on_steps` as in `fit`.
    """
    begin = time.monotonic()
    on_phase("preparing and compiling")
    malloc.trim()  # memory of the previous runs
    if multihost.is_primary():
        for folder in folders:
            atomic.make_folder(folder)
    setup = _prepare(runs, collections, split, weights, c)
    keep = [c.keep_weights == "all" or keeps_weights(run, c.study) for run in runs]
    params = _train(runs, folders, setup, any(keep), replicas, on_steps)
    on_phase("scoring")
    training_seconds = (time.monotonic() - begin) / len(runs)
    for run_values in zip(runs, folders, params, keep, strict=True):
        multihost.on_primary(partial(_score, setup, training_seconds, *run_values))


def _prepare(
    runs: Sequence[Run],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    weights: Mapping[str, Weights],
    c: ConfigDict,
) -> _Setup:
    """Return the data, the network and the settings of `runs`; all processes must have the same."""
    run = runs[0]  # the others have the same approach, frozen layers and number of epochs
    pretrained = weights[run.approach]
    fraction = c.train.early_stopping.fraction
    subsets = run_data.make_subsets(runs, collections, split, fraction)
    dataset, rois = run_data.training_dataset(subsets, collections, c.stream)
    if is_on_host(dataset):
        malloc.release_freed_memory()  # slower, but these ROIs do not fit in memory
    network = build_network(run, pretrained, c)
    cached = cached_layers(run, c)
    train_config = c.train.copy_and_resolve_references()
    train_config.epochs = n_epochs(run, collections, split, c.train)
    job = Provenance(collections, split, weights, c)
    provenance = {run: job.record(run) for run in runs}
    multihost.assert_same(f"data, weights and settings {digest(list(provenance.values()))[:12]}")
    return _Setup(
        collections,
        pretrained,
        c,
        train_config,
        network,
        cached,
        subsets,
        dataset,
        rois,
        provenance,
    )


def _train(
    runs: Sequence[Run],
    folders: Sequence[Path],
    setup: _Setup,
    keep: bool,
    replicas: Replicas | None,
    on_steps: Callable[[int], object],
) -> list[Params]:
    """Return the trained parameters of each run; with `keep`, the last checkpoints are saved."""
    c = setup.config
    validated = runs if c.train.validation_epochs and multihost.is_primary() else ()
    data = setup.subsets, setup.collections, setup.network, setup.cached, c.stream
    validators = make_validators(validated, *data)
    inner_losses = make_inner_losses(runs if c.train.early_stopping.fraction else (), *data)
    training = make_training(runs[0], setup.network, setup.train_config, c, keep, replicas)
    training_runs = [
        _training_run(run, folder, setup, validators.get(run), inner_losses.get(run))
        for run, folder in zip(runs, folders, strict=True)
    ]
    return fit(training_runs, setup.dataset, training, on_steps)


def build_network(run: Run, weights: Weights, c: ConfigDict) -> Network:
    """Return the network of a run."""
    return registry.build(
        weights.metadata["backbone"],
        outputs=2 * (len(run.tasks) if run.heads == "per_task" else 1),
        lrn=weights.metadata["lrn"],
        dropout=c.model.dropout,
    )


def cached_layers(run: Run, c: ConfigDict) -> tuple[str, ...]:
    """Return the layers of a run in the frozen-feature cache."""
    return frozen_layers(run.network) if c.feature_cache == "auto" else ()


def make_training(
    run: Run,
    network: Network,
    train_config: ConfigDict,
    c: ConfigDict,
    keep: bool,
    replicas: Replicas | None,
) -> Training:
    """Return the training of `run` and of those that train together with it."""
    return Training(
        network,
        frozen_layers(run.network),
        dict(zip(run.tasks, _task_weights(run), strict=True)),
        train_config,
        c.model.initialization,
        c.devices,
        Path(c.data.cache) / "frozen" if cached_layers(run, c) else None,
        keep,
        replicas,
    )


def _training_run(
    run: Run,
    folder: Path,
    setup: _Setup,
    validate: Validate | None,
    inner_loss: InnerLoss | None,
) -> TrainingRun:
    """Return the start of a run: its initial parameters, random key and training set."""
    c = setup.config
    run_key = jax.random.fold_in(jax.random.key(run.seed), run.initialization)
    init_key, train_key = jax.random.split(run_key)
    random = jax.device_get(init(setup.network, init_key, c.model.initialization))
    params = warm_start(random, setup.weights)
    t, monitor = setup.train_config, None
    if inner_loss:
        stopping = t.early_stopping
        monitor = EarlyStopping(inner_loss, params, stopping.interval, stopping.patience, t.epochs)
    return TrainingRun(
        folder,
        params,
        train_key,
        monitor=monitor,
        rois=setup.rois[run_data.subset_key(run)],
        validate=validate,
        provenance=setup.provenance[run],
        accept_versions=c.accept_versions,
    )


def _score(
    setup: _Setup, training_seconds: float, run: Run, folder: Path, params: Params, keep: bool
) -> None:
    """Write the scores and the record of a trained run, and delete its weights unless `keep`."""
    begin = time.monotonic()
    train_auc = _train_auc(setup, run, params)
    table = score_tables.to_csv(_evaluation_scores(setup, run, params))
    for name in run.tasks:
        shards.reject_replaced(setup.collections[name])
    versions = {checkpoint.VERSIONS_BEFORE: checkpoint.versions_before(folder / "checkpoint")}
    record = _run_record(setup, run, train_auc)
    if setup.config.train.early_stopping.fraction:
        record |= _early_stopping_record(setup, run, folder)
    record["provenance"] |= versions
    record["scores_sha256"] = hashlib.sha256(table.encode()).hexdigest()
    workdir.write_json(folder / "run.json", record)
    seconds = round(training_seconds + time.monotonic() - begin, 1)
    workdir.write_json(folder / "timing.json", {"seconds": seconds})
    atomic.write_text(folder / "scores.csv", table)
    if not keep:
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _train_auc(setup: _Setup, run: Run, params: Params) -> dict[str, float | None]:
    """Return the AUC of each task on its training set, with the labels that it is trained on."""
    key = run_data.subset_key(run)
    subset = setup.subsets[key]
    scores = predict(setup.network, params, setup.dataset, setup.cached, setup.rois[key])
    return {
        name: _auc(subset.labels[name], task_scores)
        for name, task_scores in run_data.split_by_task(scores, subset.training).items()
    }


def _evaluation_scores(setup: _Setup, run: Run, params: Params) -> score_tables.Scores:
    """Return the scores of the evaluation set of a run."""
    subset = setup.subsets[run_data.subset_key(run)]
    dataset = run_data.evaluation_dataset(subset, setup.collections, setup.config.stream)
    scores = predict(setup.network, params, dataset, setup.cached)
    return score_tables.concatenate(
        [
            score_tables.make_scores(setup.collections[name], subset.evaluation[name], task_scores)
            for name, task_scores in run_data.split_by_task(scores, subset.evaluation).items()
        ]
    )


def _run_record(setup: _Setup, run: Run, train_auc: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the content of run.json, without the checksum of the scores."""
    subset = setup.subsets[run_data.subset_key(run)]
    permuted = permuted_tasks(run.approach, run.tasks)
    return {
        "id": run.id,
        "seed": run.seed,
        "initialization": run.initialization,
        "approach": run.approach,
        "tasks": list(run.tasks),
        "network": run.network,
        "backbone": setup.weights.metadata["backbone"],
        "weights": {key: setup.weights.metadata[key] for key in ("name", "arrays_sha256")},
        "fold": run.fold,
        "split": None if run.fold is None else run.split,
        "target_cases": run.target_cases,
        "heads": run.heads,
        "task_weights": dict(zip(run.tasks, _task_weights(run), strict=True)),
        "epochs": setup.train_config.epochs,
        "rois_learned": {name: len(rows) for name, rows in subset.training.items()},
        "rois_scored": {name: len(rows) for name, rows in subset.evaluation.items()},
        "input_mean": dict(zip(run.tasks, subset.mean.tolist(), strict=True)),
        "input_std": dict(zip(run.tasks, subset.std.tolist(), strict=True)),
        "input_size": setup.network.input_size or ROI_PIXELS,
        "frozen": list(frozen_layers(run.network)),
        "pretrained": sorted(setup.weights.params),
        "train_auc": dict(train_auc),
        **({"labels_permuted": permuted} if permuted else {}),
        "provenance": dict(setup.provenance[run]),
    }


def _early_stopping_record(setup: _Setup, run: Run, folder: Path) -> dict[str, Any]:
    """Return the entries of run.json on early stopping, and the number of epochs trained."""
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    history = [json.loads(line) for line in lines]
    best = min((record for record in history if LOSS in record), key=lambda record: record[LOSS])
    inner = setup.subsets[run_data.subset_key(run)].inner
    return {
        "epochs": history[-1]["epoch"],
        "best_epoch": best["epoch"],
        "rois_inner": {name: len(rows) for name, rows in inner.items()},
    }


def _task_weights(run: Run) -> tuple[float, ...]:
    """Return the weight of each task in the loss."""
    return run.task_weights or (1.0,) * len(run.tasks)


def warm_start(params: Params, weights: Weights) -> Params:
    """Return `params` with the layers of `weights` replaced; InputError if a shape differs."""
    layers = flatten_dict(params, sep="/")
    for path, value in flatten_dict(weights.params, sep="/").items():
        if path not in layers or layers[path].shape != value.shape:
            expected = f"shape {layers[path].shape}" if path in layers else "no such layer"
            raise InputError(
                f"config.weights: {path} has shape {value.shape}, but the network has {expected}; "
                "convert the weights again with mtl-jax convert"
            )
        layers[path] = np.asarray(value, np.float32)
    return unflatten_dict(layers, sep="/")


def _auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the empirical AUC; None if all labels are equal, as in some auxiliary collections."""
    return roc.empirical(labels, scores).auc if len(set(labels.tolist())) == 2 else None
