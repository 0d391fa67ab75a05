"""Build a model bundle from a finished run.

Calibration, operating points and percentiles are computed from out-of-fold scores only: those of
the run's own cross-validation, or of another cross-validation of the same training cases. Without
out-of-fold scores the bundle is not calibrated; test scores and training scores are never used.
"""

from collections.abc import Mapping
from importlib import metadata
from operator import itemgetter
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
from mtl_jax.experiments.inner_set import draw_inner
from mtl_jax.experiments.study_inputs import load_collections
from mtl_jax.models import registry
from mtl_jax.training import checkpoint
from mtl_jax.types import InputError, RoiSet, Run

INTENDED_USE = "For research only, not for clinical use."
HEAD = "with the fully connected layers of Samala et al. 2017, Table 3"
NO_CALIBRATION = (
    "none: this study has no out-of-fold scores, and test or training scores cannot replace them;"
    " give a cross-validation of the same training cases (mtl-jax export --out-of-fold DIR)"
)


def build_model(
    run_folder: Path, out_of_fold: Path | None = None, cache: Path | None = None
) -> Model:
    """Build the model bundle of a finished run.

    `out_of_fold` is the work folder of a cross-validation with the same approach, network and
    training cases, whose scores calibrate the model; a run of a cross-validation needs none.
    `cache` replaces config.data.cache. Raises InputError if the run is not finished, its data
    changed, or `out_of_fold` has other data or was trained on test cases of the run.
    """
    run_folder = Path(run_folder).absolute()
    record = _read_record(run_folder)
    study = read_study(run_folder.parents[1])  # before the run: it rejects those of 0.1.0
    run = _make_run(record)
    c = ConfigDict(_tuples(study.config))
    c.data.cache = str(cache or c.data.cache)
    collections = load_collections(c)
    _reject_changed(
        study, {name: shards.content_digest(rois) for name, rois in collections.items()}
    )
    split = splits.Split.from_record(study.folds)
    training_rows = _training_rows(run, collections, split, c)
    params = checkpoint.read_params(run_folder / "checkpoint")
    backbone, weights = _find_network(study, run.approach)
    scores = score_tables.read_scores(run_folder / "scores.csv")
    scores = scores.select_rows(scores.task == split.target)
    held_out = find_scores(record, study, read_study(Path(out_of_fold)) if out_of_fold else None)
    reason = slope_error(held_out)
    if reason and out_of_fold:
        raise InputError(f"{out_of_fold}: {reason}; train longer, or omit --out-of-fold")
    usable = None if reason else held_out
    imaging = collections[split.target].manifest["imaging"]
    about: dict[str, Any] = {
        "made_with": f"mtl_jax {metadata.version('mtl_jax')}",
        "use": _intended_use(record, imaging),
        "phantom": any(
            "simulated" in collections[name].index["truth_source"] for name in run.tasks
        ),
        "run": {**record, "tasks": list(run.tasks)},
        "network": {
            "name": f"{registry.get(backbone).title} {HEAD}",
            "backbone": backbone,
            "outputs": int(params["F5"]["kernel"].shape[-1]),
            "lrn": weights["lrn"],
            "input_size": registry.build(backbone).input_size,
        },
        "weights": weights,
        "preprocessing": imaging | {"orientations": 8},
        "split": study.results["split"],
        "collections": [c for c in study.results["collections"] if c["name"] in run.tasks],
        "official_tests_learned": [t for t in run.tasks if t in split.official_tests_in_training],
        "auc": model_card_aucs(study.results["auc"], run.approach, run.network),
        "calibration": calibrate(usable, scores, run.fold is None),
        "operating_points": choose_operating_points(usable, scores, run.fold is None),
        "no_calibration": None if usable else (f"none: {reason}" if reason else NO_CALIBRATION),
        "out_of_fold": usable.description if usable else None,
    }
    model = Model(about, params, _empty_reference())
    parts, about["training"] = [], {}
    for task in run.tasks:
        part, about["training"][task] = _reference_lesions(
            model, collections[task], training_rows[task]
        )
        parts.append(part)
    reference = Reference(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    reference, about["reference_scores"] = _with_out_of_fold(reference, held_out, split.target)
    about["far"] = training_ranges.far_distance(reference.features)
    return Model(about, params, reference)


def _intended_use(record: Mapping[str, Any], imaging: Mapping[str, Any]) -> str:
    """Return the intended use of the model, and whether it is a control."""
    controls = []
    if permuted := record.get("labels_permuted"):
        controls.append(f"trained with permuted labels of {', '.join(permuted)}")
    if blank_mm := imaging.get("blank_mm"):
        controls.append(f"a disc of {blank_mm:g} mm in the center of each ROI is blanked")
    return " ".join([INTENDED_USE, *(f"A control: {control}." for control in controls)])


def _find_network(study: Study, approach: str) -> tuple[str, dict[str, Any]]:
    """Return the backbone of an approach and the metadata of its weights."""
    if "networks" in study.results:
        network = study.results["networks"][approach]
        return network["backbone"], network["weights"]
    # Studies of 0.2.0 have one network, and early ones do not name its backbone.
    return study.config["model"].get("backbone", "alexnet"), study.results["weights"]


def _read_record(run_folder: Path) -> dict[str, Any]:
    """Return the run.json of a finished run."""
    record = read_json(
        run_folder / "run.json", "name the folder WORKDIR/runs/RUN of a finished run"
    )
    if not (run_folder / "scores.csv").is_file():
        raise InputError(f"{run_folder}: this run is not finished; finish the job first")
    return record


def _make_run(record: Mapping[str, Any]) -> Run:
    """Return the run that a run.json describes."""
    return Run(
        *(record[name] for name in ("approach", "tasks", "network", "fold", "seed")),
        initialization=record["initialization"],
        split=record["split"] or 1,
        target_cases=record["target_cases"],
        heads=record["heads"],
    )


def _training_rows(
    run: Run, collections: Mapping[str, RoiSet], split: splits.Split, c: ConfigDict
) -> Mapping[str, np.ndarray]:
    """Return the rows of each collection that the run was trained on."""
    rows, _ = splits.run_rows(run, collections, split)
    stopping = c.train.get("early_stopping")  # absent in studies of 0.2.0
    fraction = stopping.fraction if stopping else 0.0
    rows, _ = draw_inner(run, rows, collections, fraction, split.seed)
    return rows


def model_card_aucs(
    rows: list[dict[str, Any]], approach: str, network: str
) -> list[dict[str, Any]]:
    """Return the AUCs of an approach for the model card.

    AUCs of single folds are left out, and proper binormal AUCs that `roc.may_headline` rejects.
    """
    if any("estimator" not in row for row in rows):
        raise InputError("results.json was written by an earlier version; run the job again")
    selected = [
        row
        for row in rows
        if row["study"] == approach
        and row.get("network", network) == network
        and row["estimator"] != "one fold"
    ]
    key = itemgetter("task", "unit", "estimator")
    empirical = {key(row): row["auc"] for row in selected if row["method"] == "empirical"}
    return [
        row
        for row in selected
        if row["method"] != "proper" or roc.may_headline(row["status"], empirical[key(row)])
    ]


def _reference_lesions(
    model: Model, rois: RoiSet, rows: np.ndarray
) -> tuple[Reference, dict[str, Any]]:
    """Return the training lesions of a collection with scores and features, and their ranges."""
    counts, index = Rows(rois.shards)[rows], {k: v[rows] for k, v in rois.index.items()}
    scores, features = model.score_rois(counts, rois.name)
    pairs = list(zip(index["case_id"].tolist(), index["lesion_id"].tolist(), strict=True))
    lesions = list(dict.fromkeys(pairs))
    number = {lesion: i for i, lesion in enumerate(lesions)}
    lesion_of_view = np.array([number[pair] for pair in pairs])
    first_view = np.unique(lesion_of_view, return_index=True)[1]
    n_views = np.bincount(lesion_of_view)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(lesions), *values.shape[1:]))
        np.add.at(sums, lesion_of_view, values)
        return np.float32(sums / n_views.reshape(-1, *[1] * (values.ndim - 1)))

    reference = Reference(
        np.full(len(lesions), rois.name),
        *(np.array([lesion[part] for lesion in lesions], str) for part in (0, 1)),
        index["label"][first_view].astype(np.int32),
        mean(scores),
        mean(features),
    )
    measurements = training_ranges.measure(
        counts,
        np.stack([index["pixel_um_row"], index["pixel_um_col"]], 1),
        index["outside"],
        np.stack([index["height_mm"], index["width_mm"]], 1),
    )
    return reference, training_ranges.training_limits(measurements, index["modality"].tolist())


def _with_out_of_fold(
    reference: Reference, held_out: OutOfFoldScores | None, target: str
) -> tuple[Reference, dict[str, str]]:
    """Replace the target's scores by out-of-fold scores; describe the scores of each task."""
    descriptions = dict.fromkeys(reference.task.tolist(), "of lesions in the training set")
    if held_out is None:
        return reference, descriptions
    s = held_out.scores
    lesions = roc.view_to_lesion(s.label, s.score, s.case_id, s.lesion_id)
    names = zip(lesions.cases.tolist(), lesions.lesions.tolist(), strict=True)
    lesion_scores = dict(zip(names, lesions.scores.tolist(), strict=True))
    keys = list(zip(reference.case_id.tolist(), reference.lesion_id.tolist(), strict=True))
    rows = np.flatnonzero(reference.task == target)
    unscored = ["/".join(keys[i]) for i in rows if keys[i] not in lesion_scores]
    if unscored:
        raise InputError(
            f"the cross-validation has no score for {len(unscored)} training lesions of the run,"
            f" such as {unscored[0]}; repeat it with the same training cases"
        )
    score = reference.score.copy()
    score[rows] = [lesion_scores[keys[i]] for i in rows]
    return reference._replace(score=score), descriptions | {target: "out of fold"}


def _empty_reference() -> Reference:
    text, numbers = np.zeros(0, str), np.zeros(0, np.float32)
    return Reference(text, text, text, np.zeros(0, np.int32), numbers, np.zeros((0, 0), np.float32))


def _reject_changed(study: Study, contents: dict[str, str]) -> None:
    """Raise InputError if a collection differs from that of the training."""
    for name, content in contents.items():
        if study.folds["collections"].get(name) != content:
            raise InputError(
                f"{study.folder}: collection {name} changed since the run was trained; restore its"
                " files, or run the job again"
            )


def _tuples(tree: Any) -> Any:
    """Replace the lists of JSON by the tuples of the config."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(_tuples(value) for value in tree) if isinstance(tree, list) else tree
