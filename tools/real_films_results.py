"""Write the results of finished studies of the real films for docs/real_films.md.

python tools/real_films_results.py WORKDIR [...] --out docs/real_films

Each work folder gives NAME.json, its settings, AUCs, differences and AUCs by subgroup, and
NAME.csv.gz, the scores of all runs (predictions.csv), from which every number can be computed
again. The shards of the target must be in the cache of the study.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from mtl_jax import config, study
from mtl_jax.config_diff import flatten
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc
from mtl_jax.experiments.study_inputs import load_collections
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.types import RoiSet

# Sides of the box in mm, the larger one.
SIZES = {"up to 10 mm": (0, 10), "10 to 20 mm": (10, 20), "above 20 mm": (20, np.inf)}
# The boxes that a blanked disc of this diameter covers (data.roi.blank_mm in docs/real_films.md).
DISC_MM = 40.0
# Settings of the machine, of the report and of other data, which change no number.
OMITTED = ("data.cache", "data.workers", "data.sources", "data.phantom.", "analysis.")
OMITTED += ("train.checkpoint_epochs",)
ROW = ("study", "network", "split", "target_cases", "unit", "method", "estimator", "auc", "se")
ROW += ("ci_low", "ci_high", "sd_initializations", "aucs", "n_malignant", "n_benign", "n_cases")
PAIR = ("a", "b", "network", "network_a", "network_b", "unit", "method", "estimator", "delta", "se")
PAIR += ("ci_low", "ci_high", "p_value", "p_holm", "primary")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", nargs="+", type=paths.path, metavar="WORKDIR")
    parser.add_argument("--out", type=paths.path, required=True, metavar="DIR")
    flags = parser.parse_args(arguments)
    for workdir in flags.workdir:
        text = json.dumps(summarize(workdir), indent=1, ensure_ascii=False) + "\n"
        flags.out.mkdir(parents=True, exist_ok=True)
        atomic.write_text(flags.out / f"{workdir.name}.json", text)
        table = (workdir / "predictions.csv").read_bytes()
        atomic.write_bytes(flags.out / f"{workdir.name}.csv.gz", gzip.compress(table, mtime=0))
        print(f"{flags.out / workdir.name}.json")
    return 0


def summarize(workdir: Path) -> dict[str, Any]:
    """Return what the page states of a finished study."""
    finished = study.open_study(workdir)
    results, predictions = finished.results, finished.predictions
    settings = json.loads((workdir / "config.json").read_text())
    c = config.default()
    c.update(ConfigDict(settings))
    target = load_collections(c)[results["target"]]
    stage = predictions[predictions.stage == list(results["stages"])[-1]["stage"]]
    tables = {
        name: select(results[name], ROW)
        for name in ("splits", "depth", "learning_curve")
        if name in results
    }
    conventional = results.get("conventional", {})
    return {
        "settings": changed_settings(settings),
        "versions": results["provenance"]["versions"],
        "date": date.fromtimestamp((workdir / "results.json").stat().st_mtime).isoformat(),
        "target": results["target"],
        "split": results["split"],
        "collections": [
            {k: c[k] for k in ("name", "cases", "lesions", "views")} for c in results["collections"]
        ],
        "selection": results.get("selection"),
        **tables,
        "auc": select(results["auc"], ROW),
        "comparisons": select(results["comparisons"], PAIR),
        "conventional": {
            "auc": select(conventional.get("auc", []), ROW),
            "comparisons": select(conventional.get("comparisons", []), PAIR),
        },
        "shortcuts": results.get("shortcuts"),
        "subgroups": list(subgroups(stage[stage.task == results["target"]], target)),
        "training_auc": training_aucs(results["runs"], results["target"]),
    }


def select(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return these columns of the rows that have them."""
    return [{name: row[name] for name in names if name in row} for row in rows]


def changed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from their defaults."""
    defaults = json.loads(json.dumps(flatten(config.default().to_dict())))
    return {
        name: value
        for name, value in flatten(settings).items()
        if value != defaults.get(name) and not name.startswith(OMITTED)
    }


def training_aucs(runs: list[dict[str, Any]], target: str) -> dict[str, float]:
    """Return the mean AUC on the training ROIs of the target, by approach and network."""
    values: dict[str, list[float]] = {}
    for run in runs:
        auc = run.get("train_auc", {}).get(target)
        if auc is not None:
            values.setdefault(f"{run['approach']} {run['network']}", []).append(auc)
    return {name: float(np.mean(aucs)) for name, aucs in values.items()}


def subgroups(predictions: pd.DataFrame, rois: RoiSet) -> Iterator[dict[str, Any]]:
    """Yield the view-level AUC of each approach in each subgroup of the target's views.

    It is the mean over folds and initializations, as for all views, of the folds that have both
    classes; the interval is clustered by patient.
    """
    index = pd.DataFrame({name: rois.index[name] for name in rois.index if name != "view"})
    sides = index[["height_mm", "width_mm"]]
    index["size"], index["diagonal"] = sides.max(axis=1), np.hypot(*sides.to_numpy().T)
    named = predictions.merge(index, on="roi_id", suffixes=("", "_index"))
    groups: dict[tuple[str, str], pd.Series] = {
        ("view", view): named.view == view for view in sorted(set(named.view))
    }
    if "device" in named:
        groups |= {("digitizer", d): named.device == d for d in sorted(set(named.device))}
    for name, (low, high) in SIZES.items():
        groups["lesion size", name] = (named["size"] > low) & (named["size"] <= high)
    groups["box", f"inside {DISC_MM:g} mm"] = named.diagonal <= DISC_MM
    for (variable, value), chosen in groups.items():
        for (approach, network), rows in named[chosen].groupby(["approach", "network"]):
            folds = list(fold_scores(rows))
            if folds:
                estimate = mean_auc(folds)
                keys = ("auc", "se", "ci_low", "ci_high", "n_malignant", "n_benign", "n_cases")
                names = {"variable": variable, "value": value, "study": approach}
                yield names | {"network": network} | {key: estimate[key] for key in keys}


def fold_scores(rows: pd.DataFrame) -> Iterator[FoldScores]:
    """Yield the scores of each fold that has both classes, by initialization."""
    for _, fold in rows.groupby("fold", dropna=False):
        scores = fold.pivot(index="roi_id", columns="initialization", values="score")
        first = fold.drop_duplicates("roi_id").set_index("roi_id").loc[scores.index]
        if first.truth.nunique() == 2:
            yield FoldScores(first.truth.to_numpy(), first.case_id.to_numpy(), scores.to_numpy().T)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
