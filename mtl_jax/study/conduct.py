"""A whole study: collections, splits, runs, results. What is done already is not done again."""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mtl_jax import weights
from mtl_jax.config import parse_task_weights
from mtl_jax.data import ingest, shards
from mtl_jax.nouns import InputError, RoiSet
from mtl_jax.study import scores as score_tables
from mtl_jax.study import splits, workdir
from mtl_jax.study.execute import execute
from mtl_jax.study.plan import plan
from mtl_jax.study.results import summarize
from mtl_jax.training.transfer import frozen_layers


def conduct(c: ConfigDict, folder: Path) -> dict[str, Any]:
    """Runs the study of `c` in `folder` (DESIGN of the folder: docs/architecture.md, section 4) and
    returns what results.json holds."""
    workdir.claim(folder, c.to_dict())
    pretrained = weights.load(Path(c.weights)) if c.weights else weights.analytic()
    collections = load_collections(c)
    workdir.write_json(
        folder / "environment.json", workdir.environment([d.device_kind for d in jax.devices()])
    )
    runs = plan(c.study, c.approaches, c.network, c.folds, c.seed, c.data.target, list(collections))
    unknown = set(parse_task_weights(c.train.task_weights)) - set(collections)
    if unknown:
        raise InputError(
            f"config.train.task_weights names {', '.join(sorted(unknown))}; the collections are "
            f"{', '.join(collections)}"
        )
    split = splits.split_target(
        collections[c.data.target], c.study, c.folds, c.data.test_fraction, c.seed
    )
    workdir.freeze(
        folder / "folds.json",
        {
            "target": split.target,
            "rule": split.rule,
            "train": split.train,
            "test": split.test,
            "folds": {str(i + 1): part for i, part in enumerate(split.folds)},
            "collections": {name: shards.content(rois) for name, rois in collections.items()},
        },
        "the folds, or the collections they were made from,",
    )
    _tell(c, collections, split, pretrained)
    for number, run in enumerate(runs, 1):
        place = folder / "runs" / run.id
        if (place / "scores.csv").exists():
            print(f"run {number} of {len(runs)}, {run.id}: done before")
            continue
        print(f"run {number} of {len(runs)}, {run.id}: learns {', '.join(run.tasks)}", flush=True)
        execute(run, place, collections, split, pretrained, c)
    results = summarize(
        runs,
        {run.id: score_tables.read(folder / "runs" / run.id / "scores.csv") for run in runs},
        [_read_json(folder / "runs" / run.id / "run.json") for run in runs],
        collections,
        split,
        pretrained.card,
        c.statistics.bootstrap,
        c.seed,
    )
    workdir.write_json(folder / "results.json", results)
    return results


def load_collections(c: ConfigDict) -> dict[str, RoiSet]:
    """The collections of config.data.sources by name, made into shards where they are not yet."""
    cache = Path(c.data.cache)
    background, options, rules = ingest.settings(c.data.to_dict(), cache)
    collections: dict[str, RoiSet] = {}
    for source in c.data.sources:
        rois = ingest.load(source, cache, background, options, rules)
        if rois.name in collections:
            raise InputError(
                f"config.data.sources: two collections are called {rois.name!r}; give them "
                "different names"
            )
        collections[rois.name] = rois
    return collections


def _tell(
    c: ConfigDict, collections: dict[str, RoiSet], split: splits.Split, pretrained: weights.Weights
) -> None:
    """What is about to happen, in a few lines."""
    for name, rois in collections.items():
        malignant = int((rois.index["label"] == 1).sum())
        mark = " (target)" if name == split.target else ""
        print(
            f"{name}{mark}: {len(rois)} regions, {malignant} malignant and "
            f"{len(rois) - malignant} benign, of {len(set(rois.index['case_id']))} cases"
        )
    print(f"split of {split.target}: {split.rule}")
    print(f"weights: {pretrained.card['name']}; network {c.network}")
    random = [layer for layer in frozen_layers(c.network) if layer not in pretrained.params]
    if random:
        print(f"note: {', '.join(random)} are frozen at random values: no pretrained weights")
    if not c.weights:
        print(
            "note: no pretrained weights are given (config.weights). For ImageNet's: python "
            "tools/convert_weights.py FILE --output checkpoints/NAME, then "
            "--config.weights=checkpoints/NAME"
        )
    print(end="", flush=True)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
