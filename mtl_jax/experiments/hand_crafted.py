"""Score the ROIs of a stage by conventional CAD (hand-crafted features and classifiers)."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_jax.analysis import hand_crafted, write_results
from mtl_jax.data.array_rows import Rows, iter_chunks
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments import splits
from mtl_jax.experiments.provenance import digest
from mtl_jax.experiments.scores import Scores
from mtl_jax.io.progress import write_line
from mtl_jax.types import RoiSet, Run


def conventional_scores(
    folder: Path,
    runs: Sequence[Run],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    seed: int,
    provenance: Mapping[str, Mapping[str, Any]],
) -> dict[str, Scores]:
    """Return the scores of each classifier for the ROIs of the target that `runs` score.

    For each fold the classifiers are trained on the training ROIs of the target. The scores are
    kept in `folder`/NAME.csv and computed again if `provenance`, that of each run, has changed.
    """
    target = split.target
    # All approaches have the same training and evaluation ROIs of the target.
    run_of_fold = {(run.split, run.fold): run for run in runs if run.tasks[0] == target}
    if not run_of_fold:
        return {}
    write_results.delete_stale(folder, digest([provenance, seed]))
    paths = {name: folder / f"{name}.csv" for name in hand_crafted.CLASSIFIERS}
    if not all(path.exists() for path in paths.values()):
        write_line(
            "conventional CAD: computing hand-crafted features of the target's ROIs", sys.stdout
        )
        rois = collections[target]
        features, _ = hand_crafted.feature_table(
            roi for chunk in iter_chunks(Rows(rois.shards)) for roi in chunk
        )
        labels = rois.index["label"].astype(int)
        tables: dict[str, list[Scores]] = {name: [] for name in hand_crafted.CLASSIFIERS}
        for run in run_of_fold.values():
            train, test = (rows[target] for rows in splits.run_rows(run, collections, split))
            fold_scores = hand_crafted.fit_and_score(
                features[train], labels[train], features[test], seed
            )
            for name, score in fold_scores.items():
                tables[name].append(score_tables.make_scores(rois, test, score))
        for name, path in paths.items():
            score_tables.write_scores(path, score_tables.concatenate(tables[name]))
    return {name: score_tables.read_scores(path) for name, path in paths.items()}
