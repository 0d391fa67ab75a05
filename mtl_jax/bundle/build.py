"""A model bundle from a finished run: its weights, what it learned, how it did. It trains nothing.

Calibration, operating points and percentiles rest on out-of-fold scores alone: those of the run's
own cross-validation, or of another one of the same training cases. Where there are none the bundle
says so; neither the test set nor what the network has learned takes their place.
"""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mtl_jax import roc
from mtl_jax.bundle import training_ranges
from mtl_jax.bundle.model import Model, Reference
from mtl_jax.bundle.out_of_fold import OutOfFoldScores, Study, find_scores, read_json, read_study
from mtl_jax.bundle.probabilities import calibrate, choose_operating_points, slope_error
from mtl_jax.data import shards
from mtl_jax.data.array_rows import Rows
from mtl_jax.experiments import scores as score_tables
from mtl_jax.experiments import splits
from mtl_jax.experiments.study_inputs import load_collections
from mtl_jax.training import checkpoint
from mtl_jax.types import InputError, RoiSet, Run

INTENDED_USE = "For research only, not for clinical use."
NETWORK_NAMES = {
    "alexnet": "AlexNet of Samala et al. 2017, Table 3",
    "vgg16": "VGG16 with the fully connected layers of Samala et al. 2017, Table 3",
    "resnet18": "ResNet-18 with the fully connected layers of Samala et al. 2017, Table 3",
}
NO_CALIBRATION = (
    "none: this study has no out-of-fold scores, and neither the test set nor scores of lesions"
    " that the network has learned may take their place; give a cross-validation of the same"
    " training cases (tools/export.py --out-of-fold DIR)"
)


def build_model(
    run_folder: Path, out_of_fold: Path | None = None, cache: Path | None = None
) -> Model:
    """The model of the run in `run_folder`, a folder of DIR/runs/.

    `out_of_fold` is the work folder of a cross-validation of the same approach, network and
    training cases, whose scores calibrate the model; a run of a cross-validation has its own.
    `cache` takes the place of config.data.cache. InputError: the run is not finished, its data have
    changed, or `out_of_fold` is of other data or has seen cases of the run's test set.
    """
    run_folder = Path(run_folder).absolute()
    record = read_json(run_folder / "run.json", "name a folder DIR/runs/NAME of a finished run")
    if not (run_folder / "scores.csv").is_file():
        raise InputError(f"{run_folder}: this run is not finished; run the job to its end first")
    study = read_study(run_folder.parents[1])
    run = Run(
        *(record[name] for name in ("approach", "tasks", "network", "fold", "seed")),
        initialization=record["initialization"],
        split=record["split"] or 1,
        target_cases=record["target_cases"],
        heads=record["heads"],
    )
    c = ConfigDict(_tuples(study.config))
    c.data.cache = str(cache or c.data.cache)
    collections = load_collections(c)
    _reject_changed(study, {name: shards.content(rois) for name, rois in collections.items()})
    split = splits.Split.from_record(study.folds)
    learned, _ = splits.members(run, collections, split)
    params = checkpoint.params(run_folder / "checkpoint")
    backbone = c.model.get("backbone", "alexnet")  # studies made before there were others
    own = score_tables.read(run_folder / "scores.csv")
    own = own.of(own.task == split.target)
    held = find_scores(record, study, read_study(Path(out_of_fold)) if out_of_fold else None)
    fault = slope_error(held)
    if fault and out_of_fold:
        raise InputError(f"{out_of_fold}: {fault}; train longer, or leave out --out-of-fold")
    usable = None if fault else held
    about: dict[str, Any] = {
        "made_with": f"mtl_jax {metadata.version('mtl_jax')}",
        "use": INTENDED_USE,
        "phantom": any(
            "simulated" in collections[name].index["truth_source"] for name in run.tasks
        ),
        "run": {**record, "tasks": list(run.tasks)},
        "network": {
            "name": NETWORK_NAMES[backbone],
            "backbone": backbone,
            "outputs": int(params["F5"]["kernel"].shape[-1]),
            "lrn": study.results["weights"]["lrn"],
        },
        "weights": study.results["weights"],
        "preprocessing": collections[split.target].manifest["imaging"] | {"orientations": 8},
        "split": study.results["split"],
        "collections": [c for c in study.results["collections"] if c["name"] in run.tasks],
        "official_tests_learned": [t for t in run.tasks if t in split.official_learned],
        "auc": model_card_aucs(study.results["auc"], run.approach, run.network),
        "calibration": calibrate(usable, own, run.fold is None),
        "operating_points": choose_operating_points(usable, own, run.fold is None),
        "no_calibration": None if usable else (f"none: {fault}" if fault else NO_CALIBRATION),
        "out_of_fold": usable.description if usable else None,
    }
    model = Model(about, params, _empty_reference())
    parts, about["training"] = [], {}
    for task in run.tasks:
        part, about["training"][task] = _of_task(model, collections[task], learned[task])
        parts.append(part)
    reference = Reference(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    reference, about["reference_scores"] = _with_out_of_fold(reference, held, split.target)
    about["far"] = training_ranges.far_distance(reference.features)
    return Model(about, params, reference)


def model_card_aucs(
    rows: list[dict[str, Any]], approach: str, network: str
) -> list[dict[str, Any]]:
    """The AUCs of an approach for the model card: headlines before pooled ones, no single fold's,
    and no proper fit that may not stand as a headline."""
    if any("estimator" not in row for row in rows):
        raise InputError("results.json is of an earlier version; run the job again")
    own = [
        row
        for row in rows
        if row["study"] == approach
        and row.get("network", network) == network
        and row["estimator"] != "one fold"
    ]
    empirical = {_of_row(row): row["auc"] for row in own if row["method"] == "empirical"}
    return [
        row
        for row in own
        if row["method"] != "proper" or roc.may_headline(row["status"], empirical[_of_row(row)])
    ]


def _of_row(row: dict[str, Any]) -> tuple[str, ...]:
    return row["task"], row["unit"], row["estimator"]


def _of_task(model: Model, rois: RoiSet, rows: np.ndarray) -> tuple[Reference, dict[str, Any]]:
    """The learned lesions of one collection as this network sees them, and their ranges."""
    counts, index = Rows(rois.shards)[rows], {k: v[rows] for k, v in rois.index.items()}
    scores, features = model.score_rois(counts, rois.name)
    pairs = list(zip(index["case_id"].tolist(), index["lesion_id"].tolist(), strict=True))
    lesions = list(dict.fromkeys(pairs))
    place = {lesion: i for i, lesion in enumerate(lesions)}
    member = np.array([place[pair] for pair in pairs])
    first = np.unique(member, return_index=True)[1]
    views = np.bincount(member)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(lesions), *values.shape[1:]))
        np.add.at(sums, member, values)
        return np.float32(sums / views.reshape(-1, *[1] * (values.ndim - 1)))

    reference = Reference(
        np.full(len(lesions), rois.name),
        *(np.array([lesion[part] for lesion in lesions], str) for part in (0, 1)),
        index["label"][first].astype(np.int32),
        mean(scores),
        mean(features),
    )
    measured = training_ranges.measure(
        counts,
        np.stack([index["pixel_um_row"], index["pixel_um_col"]], 1),
        index["outside"],
        np.stack([index["height_mm"], index["width_mm"]], 1),
    )
    return reference, training_ranges.training_limits(measured, index["modality"].tolist())


def _with_out_of_fold(
    reference: Reference, held: OutOfFoldScores | None, target: str
) -> tuple[Reference, dict[str, str]]:
    """The target's scores replaced by those out of fold, and what the scores of each task are."""
    says = {task: "of lesions that the network has learned" for task in reference.task.tolist()}
    if held is None:
        return reference, says
    s = held.scores
    lesions = roc.view_to_lesion(s.label, s.score, s.case_id, s.lesion_id)
    found = {
        (case, lesion): score
        for case, lesion, score in zip(
            lesions.cases.tolist(), lesions.lesions.tolist(), lesions.scores.tolist(), strict=True
        )
    }
    score, without = reference.score.copy(), []
    for i, (task, *lesion) in enumerate(zip(*reference[:3], strict=True)):
        key = tuple(map(str, lesion))
        if task == target and key in found:
            score[i] = found[key]
        elif task == target:
            without.append("/".join(key))
    if without:
        raise InputError(
            f"the cross-validation has no score of {len(without)} of the run's training lesions,"
            f" such as {without[0]}; make it with the same training cases"
        )
    return reference._replace(score=score), says | {target: "out of fold"}


def _empty_reference() -> Reference:
    text, numbers = np.zeros(0, str), np.zeros(0, np.float32)
    return Reference(text, text, text, np.zeros(0, np.int32), numbers, np.zeros((0, 0), np.float32))


def _reject_changed(study: Study, contents: dict[str, str]) -> None:
    for name, content in contents.items():
        if study.folds["collections"].get(name) != content:
            raise InputError(
                f"{study.folder}: the collection {name} is no longer what the run has learned;"
                " give it back its files, or run the job again"
            )


def _tuples(tree: Any) -> Any:
    """JSON knows lists alone, and the config holds tuples."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(_tuples(value) for value in tree) if isinstance(tree, list) else tree
