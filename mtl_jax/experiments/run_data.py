"""Select the training and evaluation ROIs of runs and put them in datasets."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mtl_jax.config import PERMUTED_LABELS, has_option
from mtl_jax.data import shards
from mtl_jax.data.array_rows import Rows
from mtl_jax.experiments import splits
from mtl_jax.experiments.inner_set import draw_inner, reject_empty
from mtl_jax.experiments.permuted_labels import training_labels
from mtl_jax.training.dataset import Dataset, make_dataset, pixel_statistics
from mtl_jax.types import RoiSet, Run

RowsByTask = Mapping[str, np.ndarray]


class Subset(NamedTuple):
    """The ROIs of a run: rows of each collection in its training set and in its evaluation set, and
    the mean and standard deviation of the training pixels of each collection, (t,) float32.

    `inner` are rows of training cases that are not trained on: they decide when to stop. `labels`
    are those of the training rows; an approach may permute them. All other labels are true.
    """

    training: RowsByTask
    evaluation: RowsByTask
    mean: np.ndarray
    std: np.ndarray
    inner: RowsByTask
    labels: RowsByTask


def subset_key(run: Run) -> Run:
    """Return `run` without its initialization, unless that decides its subset of cases or labels.

    Runs that differ in initialization alone then share one subset.
    """
    is_drawn = run.target_cases is not None or has_option(run.approach, PERMUTED_LABELS)
    return run if is_drawn else replace(run, initialization=0)


def make_subsets(
    runs: Sequence[Run],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    inner_fraction: float = 0.0,
) -> dict[Run, Subset]:
    """Return the ROIs of `runs` by `subset_key`; InputError if a run cannot be trained on them.

    `inner_fraction` of the training patients of the first task are the inner set.
    """
    subsets: dict[Run, Subset] = {}
    for run in runs:
        splits.reject_unfit(run, collections, split)
        if subset_key(run) in subsets:
            continue
        training, evaluation = splits.run_rows(run, collections, split)
        training, inner = draw_inner(run, training, collections, inner_fraction, split.seed)
        reject_empty(run, training)
        tables = [Rows(collections[name].shards).take(training[name]) for name in run.tasks]
        labels = training_labels(run, training, collections, split)
        statistics = pixel_statistics(tables)
        subsets[subset_key(run)] = Subset(training, evaluation, *statistics, inner, labels)
    return subsets


def training_dataset(
    subsets: Mapping[Run, Subset], collections: Mapping[str, RoiSet], stream: str
) -> tuple[Dataset, dict[Run, range]]:
    """Return one dataset of all training sets, and the rows of each; all have the same tasks."""
    sizes = [sum(map(len, subset.training.values())) for subset in subsets.values()]
    ends = np.cumsum(sizes).tolist()
    ranges = map(range, [0, *ends[:-1]], ends)
    tables = [(subset.training, subset.labels, subset) for subset in subsets.values()]
    return _make_dataset(tables, collections, stream), dict(zip(subsets, ranges, strict=True))


def evaluation_dataset(subset: Subset, collections: Mapping[str, RoiSet], stream: str) -> Dataset:
    """Return the evaluation set, standardized by the statistics of the training set."""
    return _make_labelled_dataset(subset.evaluation, subset, collections, stream)


def inner_dataset(subset: Subset, collections: Mapping[str, RoiSet], stream: str) -> Dataset:
    """Return the inner set, standardized by the statistics of the training set."""
    return _make_labelled_dataset(subset.inner, subset, collections, stream)


def split_by_task(scores: np.ndarray, rows: RowsByTask) -> dict[str, np.ndarray]:
    """Split the scores of the `rows` of all tasks, in their order, into those of each task."""
    sizes = [len(task_rows) for task_rows in rows.values()]
    return dict(zip(rows, np.split(scores, np.cumsum(sizes)[:-1]), strict=True))


def _make_labelled_dataset(
    rows: RowsByTask, subset: Subset, collections: Mapping[str, RoiSet], stream: str
) -> Dataset:
    """Return the dataset of rows with their true labels."""
    labels = {name: collections[name].index["label"][rows[name]].astype(int) for name in rows}
    return _make_dataset([(rows, labels, subset)], collections, stream)


def _make_dataset(
    tables: Sequence[tuple[RowsByTask, RowsByTask, Subset]],
    collections: Mapping[str, RoiSet],
    stream: str,
) -> Dataset:
    """Return one dataset of these rows with their labels, each standardized by the statistics of
    its subset."""
    tasks = list(tables[0][0])
    task_rows = [(name, rows) for by_task, _, _ in tables for name, rows in by_task.items()]
    return make_dataset(
        [Rows(collections[name].shards).take(rows) for name, rows in task_rows],
        [labels[name] for by_task, labels, _ in tables for name in by_task],
        np.concatenate([subset.mean for _, _, subset in tables]),
        np.concatenate([subset.std for _, _, subset in tables]),
        stream,
        [tasks.index(name) for name, _ in task_rows],
        " ".join(_origin(collections[name], rows) for name, rows in task_rows),
    )


def _origin(rois: RoiSet, rows: np.ndarray) -> str:
    """Return what identifies the pixels of these rows of a collection."""
    digest = hashlib.sha256(np.ascontiguousarray(rows, np.int64).data).hexdigest()
    return f"{shards.content_digest(rois)} {digest}"
