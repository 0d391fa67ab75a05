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
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from mtl_jax import config, study
from mtl_jax.config_diff import flatten
from mtl_jax.experiments.auc_statistics import FoldScores, mean_auc
from mtl_jax.experiments.scores import Scores, equal_scores
from mtl_jax.experiments.study_inputs import load_collections
from mtl_jax.io import atomic, command_line, paths
from mtl_jax.io.read_csv import read_csv
from mtl_jax.report.read_workdir import SECONDARY_ESTIMATORS
from mtl_jax.types import InputError, RoiSet

# The larger side of the box in mm.
SIZES = {"up to 10 mm": (0, 10), "10 to 20 mm": (10, 20), "above 20 mm": (20, np.inf)}
VOLUME_COLUMNS = ["patient_id", "side", "abnormality", "view", "ddsm_volume_class"]
# Settings that the page names otherwise, and those of the machine and of the report.
OMITTED = ("data.sources", "data.cache", "data.workers", "data.phantom.", "analysis.")
OMITTED += ("train.checkpoint_minutes",)
# The columns of predictions.csv that the runs of a condition share.
CONDITION = ("approach", "network", "split", "target_cases")
ROW = ("study", *CONDITION[1:], "unit", "method", "estimator", "auc", "se", "ci_low", "ci_high")
ROW += ("sd_initializations", "aucs", "initializations", "n_malignant", "n_benign", "n_cases")
PAIR = ("a", "b", "network_a", "network_b", "target_cases", "unit", "method", "estimator", "delta")
PAIR += ("se", "ci_low", "ci_high", "p_value", "p_holm", "primary")
SUBGROUP = ("auc", "se", "ci_low", "ci_high", "n_malignant", "n_benign", "n_cases")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", nargs="+", type=paths.path, metavar="WORKDIR")
    parser.add_argument("--out", type=paths.path, required=True, metavar="DIR")
    parser.add_argument(
        "--masses",
        type=paths.path,
        metavar="FILE",
        help="masses.csv of ddsm299, for subgroups by the volume of DDSM",
    )
    flags = parser.parse_args(arguments)
    volumes = read_volumes(flags.masses) if flags.masses else {}
    atomic.make_folder(flags.out)
    for workdir in flags.workdir:
        text = json.dumps(summarize(workdir, volumes), indent=1, ensure_ascii=False) + "\n"
        atomic.write_text(flags.out / f"{workdir.name}.json", text)
        table = (workdir / "predictions.csv").read_bytes()
        atomic.write_bytes(flags.out / f"{workdir.name}.csv.gz", gzip.compress(table, mtime=0))
        print(f"{flags.out / workdir.name}.json")
    return 0


def read_volumes(path: Path) -> dict[str, str]:
    """Return the volume of DDSM (cancers, benigns, ...) that each ROI of ddsm299 is from."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; name masses.csv of ddsm299")
    table = read_csv(path, strip=True)
    missing = [column for column in VOLUME_COLUMNS if column not in table]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}; name masses.csv of ddsm299")
    return {
        f"ddsm299/{patient}/{side[:1]}{abnormality}/{view}": volume
        for patient, side, abnormality, view, volume in table[VOLUME_COLUMNS].to_numpy()
    }


def summarize(workdir: Path, volumes: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page states of a finished study: the results of its last stage."""
    finished = study.open_study(workdir)
    results, predictions = finished.results, finished.predictions
    target, stage = results["target"], results["stages"][-1]
    settings = json.loads((workdir / "config.json").read_text())
    c = config.default()
    c.update(ConfigDict(settings))
    scored = (predictions.stage == stage["stage"]) & (predictions.task == target)
    conditions = list(group_conditions(predictions[scored]))
    runs = [run for run in results["runs"] if run["id"] in stage["runs"]]
    conventional = results.get("conventional", {"auc": [], "comparisons": []})
    rois = load_collections(c)[target]
    return {
        "settings": changed_settings(settings),
        "versions": results["provenance"]["versions"],
        "date": date.fromtimestamp((workdir / "results.json").stat().st_mtime).isoformat(),
        "target": target,
        "stage": stage["stage"],
        "split": results["split"],
        "collections": [
            {k: c[k] for k in ("name", "cases", "lesions", "views")} for c in results["collections"]
        ],
        "selection": results["selection"],
        "auc": [
            select(condition | row, ROW)
            | {"training_auc": training_auc(runs, condition, target)}
            | count_equal_scores(scores)
            for condition, scores in conditions
            for row in results["auc"]
            if is_main(row, target) and is_of(row, condition)
        ],
        "comparisons": [select(r, PAIR) for r in results["comparisons"] if is_main(r, target)],
        "conventional": {
            "auc": [select(row, ROW) for row in conventional["auc"] if is_main(row, target)],
            "comparisons": [
                select(row, PAIR) for row in conventional["comparisons"] if is_main(row, target)
            ],
        },
        "shortcuts": results.get("shortcuts", []),
        "subgroups": [
            row
            for condition, scores in conditions
            for row in subgroups(condition, scores, rois, volumes, c.data.roi.blank_mm)
        ],
    }


def group_conditions(predictions: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield each condition, None for no split and for all training cases, and its predictions."""
    for values, rows in predictions.groupby(list(CONDITION), dropna=False, sort=False):
        cells = (None if pd.isna(value) else value for value in values)
        yield (
            {
                name: int(cell) if name in ("split", "target_cases") and cell is not None else cell
                for name, cell in zip(CONDITION, cells, strict=True)
            },
            rows,
        )


def is_main(row: Mapping[str, Any], target: str) -> bool:
    """Return whether a row is of the target and a mean over folds or initializations, or of the
    test set; not of one fold or of scores pooled over folds."""
    return row["task"] == target and row["estimator"] not in SECONDARY_ESTIMATORS


def is_of(row: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Return whether a row of results.json is of this condition; it may lack columns that are equal
    in all rows."""
    labels = row | {"approach": row["study"]}
    return all(labels.get(name, condition[name]) == condition[name] for name in CONDITION)


def select(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return these columns, without those that the row lacks."""
    return {name: row[name] for name in names if name in row}


def changed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from their defaults."""
    defaults = json.loads(json.dumps(flatten(config.default().to_dict())))
    return {
        name: value
        for name, value in flatten(settings).items()
        if value != defaults.get(name) and not name.startswith(OMITTED)
    }


def training_auc(
    runs: Iterable[Mapping[str, Any]], condition: Mapping[str, Any], target: str
) -> float | None:
    """Return the mean AUC of the runs of a condition on the target's training ROIs."""
    aucs = [
        run["train_auc"].get(target)
        for run in runs
        if all(run[name] == condition[name] for name in CONDITION if name != "split")
        and condition["split"] in (None, run["split"])
    ]
    return float(np.mean(aucs)) if aucs and None not in aucs else None


def count_equal_scores(predictions: pd.DataFrame) -> dict[str, int]:
    """Return the number of runs, and of those that give most ROIs the same score."""
    fields = ["truth" if name == "label" else name for name in Scores._fields]
    tables = {
        run: Scores(*(scores[field].to_numpy() for field in fields))
        for run, scores in predictions.groupby("run")
    }
    return {"runs": len(tables), "runs_with_equal_scores": len(equal_scores(tables))}


def subgroups(
    condition: Mapping[str, Any],
    predictions: pd.DataFrame,
    rois: RoiSet,
    volumes: Mapping[str, str],
    disc_mm: float,
) -> Iterator[dict[str, Any]]:
    """Yield the view-level AUC of a condition in each subgroup of the target's views.

    It is the mean over folds and initializations, as for all views, of the `n_folds` folds that
    have both classes; the interval is clustered by patient. A subgroup without such a fold is left
    out. Of ROIs with a blanked disc of `disc_mm`, those are a subgroup whose box is within it. All
    malignant views are from the cancer volumes of DDSM: within these, the volume cannot tell the
    classes apart.
    """
    index = pd.DataFrame({name: rois.index[name] for name in rois.index if name != "view"})
    sides = index[["height_mm", "width_mm"]]
    index["size"], index["diagonal"] = sides.max(axis=1), np.hypot(*sides.to_numpy().T)
    views = predictions.merge(index, on="roi_id", suffixes=("", "_index"))
    masks: dict[tuple[str, str], pd.Series] = {
        ("view", view): views.view == view for view in sorted(set(views.view))
    }
    if "device" in views:
        masks |= {("digitizer", d): views.device == d for d in sorted(set(views.device))}
    for name, (low, high) in SIZES.items():
        masks["lesion size", name] = (views["size"] > low) & (views["size"] <= high)
    if disc_mm:
        masks["box", "within the blanked disc"] = views.diagonal <= disc_mm
    if views.roi_id.isin(volumes).all():
        of_cancers = views.roi_id.map(volumes) == "cancers"
        masks["DDSM volume", "cancer only"] = of_cancers
        masks["DDSM volume", "without benign views of cancer volumes"] = ~of_cancers | (
            views.truth == 1
        )
    for (variable, value), mask in masks.items():
        folds = list(fold_scores(views[mask]))
        if folds:
            labels = {"variable": variable, "value": value, "n_folds": len(folds)}
            yield condition | labels | select(mean_auc(folds), SUBGROUP)


def fold_scores(views: pd.DataFrame) -> Iterator[FoldScores]:
    """Yield the scores of each fold that has both classes, by initialization."""
    for _, fold in views.groupby("fold", dropna=False):
        scores = fold.pivot(index="roi_id", columns="initialization", values="score")
        first = fold.drop_duplicates("roi_id").set_index("roi_id").loc[scores.index]
        if first.truth.nunique() == 2:
            yield FoldScores(first.truth.to_numpy(), first.case_id.to_numpy(), scores.to_numpy().T)


if __name__ == "__main__":
    sys.exit(command_line.run(main))
