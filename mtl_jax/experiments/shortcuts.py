"""AUCs of trivial predictors of malignancy, beside which the AUC of a network must be read.

Malignant and benign lesions of a collection may differ in brightness, size or scanner, by the way
they were collected. A network that has learned no more than that has the AUC of these predictors.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mtl_jax.analysis.hand_crafted import make_forest
from mtl_jax.config import UNITS
from mtl_jax.data.array_rows import Rows, iter_chunks
from mtl_jax.experiments import stage_tables
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc
from mtl_jax.experiments.scores import Scores, make_scores
from mtl_jax.experiments.splits import Split, run_rows
from mtl_jax.types import RoiSet, Run

ALL = "all of these (random forest)"
TREES = 100
ESTIMATES = ("auc", "se", "ci_low", "ci_high", "n_malignant", "n_benign")


def evaluate_shortcuts(
    runs: Sequence[Run], collections: Mapping[str, RoiSet], split: Split
) -> list[dict[str, Any]]:
    """Return the AUC of each predictor on the ROIs of each collection that `runs` evaluate.

    `runs` are those of the last stage. The AUC is estimated as that of a network: by view, and by
    lesion with the mean over its views; on the test set, or as the mean over the folds of the first
    partition among `runs`; with an interval clustered by patient. A predictor is left out if it is
    constant within each fold, or has in some fold no known value or a single class.
    """
    return [
        {"collection": name} | row
        for name in dict.fromkeys(task for run in runs for task in run.tasks)
        for row in _collection_rows(_fold_runs(runs, name), collections, split, name)
    ]


def _fold_runs(runs: Sequence[Run], name: str) -> list[Run]:
    """Return one run for each fold, with all training cases: predictors have no initialization."""
    partition = min(run.split for run in runs)
    by_fold = {
        run.fold: replace(run, target_cases=None)
        for run in runs
        if name in run.tasks and run.split == partition
    }
    return list(by_fold.values())


def _collection_rows(
    runs: Sequence[Run], collections: Mapping[str, RoiSet], split: Split, name: str
) -> Iterator[dict[str, Any]]:
    rois = collections[name]
    tables: dict[str, dict[str, Scores]] = {}  # by predictor and run id
    for run in runs:
        train, evaluation = (rows[name] for rows in run_rows(run, collections, split))
        for predictor, scores in _predict(rois, train, evaluation).items():
            known = np.isfinite(scores)
            if known.any():
                tables.setdefault(predictor, {})[run.id] = make_scores(
                    rois, evaluation[known], scores[known]
                )
    for predictor, run_scores in tables.items():
        for unit in UNITS if len(run_scores) == len(runs) else ():
            folds = stage_tables.fold_scores(runs, run_scores, name, unit)
            if stage_tables.has_both_classes(folds) and not _is_constant(folds):
                estimate = mean_auc(folds)
                row = {key: estimate[key] for key in ESTIMATES}
                yield {"predictor": predictor, "unit": unit} | row


def _predict(rois: RoiSet, train: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores (n,) of the ROIs `rows` by predictor; NaN where one is not known.

    The last one is a random forest on all others, fitted to the ROIs `train`.
    """
    features = _measure(rois, rows) | {"device": malignant_fractions(rois, train, rows)}
    label = rois.index["label"][train]
    if not len(rows) or not 0 < label.sum() < len(label):
        return features
    devices = sorted(set(rois.index["device"][train].tolist())) if "device" in rois.index else []
    tables = [_table(rois, part, devices) for part in (train, rows)]
    forest = make_forest(seed=0, trees=TREES).fit(tables[0], label)
    return features | {ALL: forest.predict_proba(tables[1])[:, 1]}


def _table(rois: RoiSet, rows: np.ndarray, devices: Sequence[str]) -> np.ndarray:
    """Return the features (n, m) of a forest: what is measured, and an indicator of each device."""
    columns = [*_measure(rois, rows).values()]
    columns += [rois.index["device"][rows] == device for device in devices]
    return np.nan_to_num(np.stack(columns, axis=1).astype(float))


def _measure(rois: RoiSet, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return what can be measured of the ROIs `rows` without a network, (n,) each."""
    mean, sd = _mean_and_sd(Rows(rois.shards, rows))
    height, width, row_um, column_um, outside = (
        rois.index[column][rows]
        for column in ("height_mm", "width_mm", "pixel_um_row", "pixel_um_col", "outside")
    )
    size_mm = np.maximum(height, width)  # 0 of a location without an extent
    return {
        "mean gray": mean,
        "SD of gray": sd,
        "lesion size": np.where(size_mm > 0, size_mm, np.nan),
        "pixel size": np.sqrt(row_um * column_um),
        "pixel height / width": row_um / column_um,
        "fraction outside the image": outside,
    }


def _mean_and_sd(pixels: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and SD (n,) of the stored counts of each ROI."""
    moments = np.empty((2, len(pixels)))
    begin = 0
    for chunk in iter_chunks(pixels):
        end = begin + len(chunk)
        moments[:, begin:end] = chunk.mean((1, 2)), chunk.std((1, 2))
        begin = end
    return moments[0], moments[1]


def malignant_fractions(rois: RoiSet, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return for each of the ROIs `rows` the malignant fraction of the ROIs `train` of its device.

    `train` are the ROIs of the training cases: those of the other folds, or for a test set all. A
    case therefore never contributes to its own score, nor does any other of its fold. Images whose
    device is not known share one, and a device that no training case has gets the fraction of all
    training ROIs. Without devices all scores are NaN.
    """
    device = rois.index.get("device")
    if device is None or not len(train):
        return np.full(len(rows), np.nan)
    label = rois.index["label"][train]
    fractions = {
        name: float(label[device[train] == name].mean()) for name in set(device[train].tolist())
    }
    return np.array([fractions.get(name, float(label.mean())) for name in device[rows].tolist()])


def _is_constant(folds: Sequence[FoldScores]) -> bool:
    return not any(np.ptp(fold.scores) for fold in folds)
