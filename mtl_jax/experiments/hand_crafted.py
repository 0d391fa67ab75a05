"""Conventional CAD as one more reader: it learns and scores the target's ROIs that the networks
of a stage do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_jax.analysis import hand_crafted, write_results
from mtl_jax.data.array_rows import Rows, iter_chunks
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments import splits
from mtl_jax.experiments.provenance import digest
from mtl_jax.experiments.scores import Scores
from mtl_jax.types import RoiSet, Run


def conventional_scores(
    folder: Path,
    runs: Sequence[Run],
    collections: Mapping[str, RoiSet],
    split: splits.Split,
    seed: int,
    made_from: Mapping[str, Mapping[str, Any]],
) -> dict[str, Scores]:
    """Score by classifier of the target's ROIs that `runs` score, each by a classifier that has
    learned the target's ROIs that the run learns; kept in `folder`, NAME.csv each, as long as
    `made_from`, the provenance of each run, is the same."""
    target = split.target
    own = [run for run in runs if run.tasks[0] == target]
    parts = {(run.split, run.fold): run for run in own}  # approaches learn and score the same
    if not own:
        return {}
    write_results.delete_stale(folder, digest([made_from, seed]))
    paths = {name: folder / f"{name}.csv" for name in hand_crafted.CLASSIFIERS}
    if not all(path.exists() for path in paths.values()):
        print("conventional CAD: hand-crafted features of the target's ROIs", flush=True)
        rois = collections[target]
        features, _ = hand_crafted.feature_table(
            roi for some in iter_chunks(Rows(rois.shards)) for roi in some
        )
        labels = rois.index["label"].astype(int)
        tables: dict[str, list[Scores]] = {name: [] for name in hand_crafted.CLASSIFIERS}
        for run in parts.values():
            learned, scored = (part[target] for part in splits.run_rows(run, collections, split))
            judged = hand_crafted.fit_and_score(
                features[learned], labels[learned], features[scored], seed
            )
            for name, found in judged.items():
                tables[name].append(score_tables.make_scores(rois, scored, found))
        for name, path in paths.items():
            score_tables.write_scores(path, score_tables.concatenate(tables[name]))
    return {name: score_tables.read_scores(path) for name, path in paths.items()}
