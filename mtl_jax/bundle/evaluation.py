"""Evaluate scores of lesions whose reference standard is known: AUC, thresholds, calibration.

Only lesions are evaluated, because the operating points of a bundle are those of lesions. Intervals
are clustered by patient or group if the table of the lesions names them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mtl_jax import roc
from mtl_jax.bundle import calibration
from mtl_jax.bundle.lesion_table import GROUP, LESION, PATIENT, UNKNOWN_TRUTH
from mtl_jax.bundle.model import Model
from mtl_jax.bundle.scoring import LesionScore, ModelScores
from mtl_jax.roc.class_names import MAX_LISTED, Classes
from mtl_jax.types import GROUPS, UNKNOWN

HERE = "these images"  # what the calibration is evaluated on
MIN_LESIONS = 100  # of each class (Vergouwe et al. 2005, J Clin Epidemiol 58:475)
FEW_LESIONS = (
    f"with fewer than {MIN_LESIONS} malignant or {MIN_LESIONS} benign lesions the calibration is"
    " imprecise"
)
NO_PATIENTS = "patients unknown: intervals by lesion (the table has no patient_id)"


def evaluate(
    results: Sequence[ModelScores], classes: Classes | None = None
) -> dict[str, Any] | None:
    """Evaluate one model, or compare two, on the lesions with a reference standard.

    Parameters
    ----------
    results
        Scores of one or two models for the same lesions.
    classes
        Words of the truth that were read as benign and malignant; they are recorded in the notes.

    Returns
    -------
    dict or None
        The content of evaluation.json; None if no lesion has a reference standard. An AUC, a
        sensitivity or a specificity that one class does not define is None.
    """
    lesions = results[0].lesions
    rows = [i for i, lesion in enumerate(lesions) if lesion.label != UNKNOWN]
    if not rows:
        return None
    labelled = [lesions[i] for i in rows]
    labels = np.array([lesion.label for lesion in labelled])
    case_is = labelled[0].views[0].row.case_is
    has_clusters = case_is != LESION
    cases = [lesion.case_id for lesion in labelled]
    # Numbers in the order of the table, so that a bootstrap does not depend on the pseudonyms.
    numbers = {case: number for number, case in enumerate(dict.fromkeys(cases))}
    clusters = np.array([numbers[case] for case in cases]) if has_clusters else None
    scores = [np.array([result.lesions[i].score for i in rows]) for result in results]
    models = []
    for result, model_scores in zip(results, scores, strict=True):
        probabilities = np.array([result.lesions[i].probability for i in rows])
        model = _evaluate_model(result, labels, model_scores, probabilities, clusters)
        if has_clusters:
            known = _training_cases(result.model, case_is)
            asked = ((lesion.views[0].row.view.collection, lesion.case_id) for lesion in labelled)
            # A group is one of its collection alone, and a patient may be in several.
            ids = set(asked) if case_is == GROUP else {("", case) for case in cases}
            model[f"n_training_{case_is}s"] = len(known & ids)
        models.append(model)
    difference = None
    if len(results) == 2 and len(set(labels.tolist())) == 2:
        difference = asdict(roc.compare(labels, *scores, "obuchowski", clusters))
    record = {
        "unit": "lesion",
        "clustered_by": case_is,
        "n_malignant": int(labels.sum()),
        "n_benign": int((1 - labels).sum()),
        "n_patients": len(numbers) if case_is == PATIENT else None,
        **({"n_groups": len(numbers)} if case_is == GROUP else {}),
        "n_without_truth": len(lesions) - len(rows),
        "prevalence": float(labels.mean()),
        "models": models,
        "difference": difference,
    }
    notes = _notes(record, lesions, labelled)
    if classes is not None:
        notes.insert(0, f"truth {classes[0]} is benign and {classes[1]} malignant (--classes)")
    return record | {"notes": notes}


def unrecognized_truths(lesions: Sequence[LesionScore]) -> Counter[str]:
    """Count the lesions by their truth, of those whose truth is neither malignant nor benign."""
    unknown = [lesion.views for lesion in lesions if lesion.label == UNKNOWN]
    words = (next(filter(None, (v.row.unknown_truth for v in views)), "") for views in unknown)
    return Counter(word for word in words if word)


def unrecognized_text(lesions: Sequence[LesionScore]) -> str:
    """Return a sentence on the lesions of `unrecognized_truths` and the cure; '' without any.

    It has words of the user's table and is for the screen only.
    """
    counts = unrecognized_truths(lesions)
    if not counts:
        return ""
    listed = [f"{word} ({n})" for word, n in counts.most_common(MAX_LISTED)]
    listed += [f"{len(counts) - MAX_LISTED} more"] if len(counts) > MAX_LISTED else []
    words = "".join(c if c.isprintable() else " " for c in ", ".join(listed))
    return (
        f"not evaluated: the truth of {counts.total()} of {len(lesions)} lesions is neither"
        f" malignant nor benign: {words}; name your words with --classes NEGATIVE,POSITIVE"
    )


def describe(record: dict[str, Any]) -> list[str]:
    """Return sentences on the lesions of an evaluation."""
    n_lesions = record["n_malignant"] + record["n_benign"]
    cluster = record["clustered_by"]
    number = record.get(f"n_{cluster}s")
    of_clusters = f" of {_count(number, cluster)}" if number else ""
    without = record["n_without_truth"]
    prevalences = [
        f"{model['training_prevalence']:.2f} among the training lesions"
        + (f" of {model['run']}" if len(record["models"]) > 1 else "")
        for model in record["models"]
    ]
    sentences = [
        f"evaluated: {_count(n_lesions, 'lesion')}{of_clusters} with a reference standard,"
        f" {record['n_malignant']} malignant and {record['n_benign']} benign"
        + (f"; {_count(without, 'lesion')} without one" if without else ""),
        f"prevalence of malignancy: {record['prevalence']:.2f} here,"
        f" {', '.join(dict.fromkeys(prevalences))}",
    ]
    return [*sentences, f"intervals are clustered by {cluster}"] if number else sentences


def table(record: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the results as rows of a name and a text for each model, with 95% intervals."""
    models = record["models"]
    rows = [("AUC", [_auc_text(model["auc"]) for model in models])]
    names = [point["name"] for model in models for point in model["operating_points"]]
    for name in dict.fromkeys(names):
        texts = [_point_text(model["operating_points"], name) for model in models]
        rows.append((f"threshold for {name}", texts))
    if not names:
        rows.append(("operating points", [_none(model["not_valid"]) for model in models]))
    reasons = [model["not_valid"] or "the lesions are of one class" for model in models]
    if not any(model["calibration"] for model in models):
        return [*rows, ("calibration", [_none(reason) for reason in reasons])]
    for name, text in (
        ("mean probability", _large_text),
        ("calibration error", _error_text),
        ("Brier score", _brier_text),
    ):
        checks = [model["calibration"] for model in models]
        texts = [text(c) if c else _none(r) for c, r in zip(checks, reasons, strict=True)]
        rows.append((name, texts))
    return rows


def difference_text(record: dict[str, Any], models: str = "first − second model") -> str:
    """Return the difference of the AUCs of two models as text; '' if there is none."""
    if record["difference"] is None:
        return ""
    d = record["difference"]
    interval = _interval(d["ci_low"], d["ci_high"], "+.3f")
    p_value = "p < 0.001" if d["p_value"] < 0.001 else f"p = {d['p_value']:.3f}"
    return (
        f"difference of the AUCs, {models}: {d['delta']:+.3f} {interval}, {p_value}"
        f"{_status_text(d['status'])}"
    )


def _evaluate_model(
    result: ModelScores,
    labels: np.ndarray,
    scores: np.ndarray,
    probabilities: np.ndarray,
    patients: np.ndarray | None,
) -> dict[str, Any]:
    model, task = result.model, result.task
    malignant = labels == 1
    two_classes = 0 < malignant.sum() < len(labels)
    same_task = model.reference.task == task
    fitted = model.about["calibration"]
    prevalence = float(model.reference.label[same_task].mean())
    if fitted and task == model.tasks[0]:
        prevalence = fitted["lesion"]["prevalence"]
    checks = None
    if two_classes and not np.isnan(probabilities).any():
        clusters = np.arange(len(labels)) if patients is None else patients
        checks = calibration.assess(HERE, labels, probabilities, clusters)
    return {
        "run": model.about["run"]["id"],
        "task": task,
        "training_prevalence": prevalence,
        "n_training_patients": None,  # not known without patients
        "auc": asdict(roc.auc_interval(labels, scores, patients)) if two_classes else None,
        "operating_points": [
            {"name": point["name"], "threshold": point["threshold"]}
            | {
                name: asdict(roc.proportion(hits, None if patients is None else patients[in_class]))
                if in_class.any()
                else None
                for name, in_class, hits in (
                    ("sensitivity", malignant, scores[malignant] >= point["threshold"]),
                    ("specificity", ~malignant, scores[~malignant] < point["threshold"]),
                )
            }
            for point in model.operating_points(task)
        ],
        "calibration": checks,
        "not_valid": _why_not_valid(result),
    }


def _training_cases(model: Model, case_is: str) -> set[tuple[str, str]]:
    """Return the training patients as ('', id), or the training groups as (collection, id)."""
    groups = {c["name"] for c in model.about.get("collections", ()) if c.get("cases_are") == GROUPS}
    cases = zip(model.reference.task.tolist(), model.reference.case_id.tolist(), strict=True)
    if case_is == GROUP:
        return {(name, case) for name, case in cases if name in groups}
    return {("", case) for name, case in cases if name not in groups}


def _why_not_valid(result: ModelScores) -> str:
    """Return why the model has no operating points and probabilities for its task, or ''."""
    model, task = result.model, result.task
    if model.about["calibration"] is None:
        return "the model has no out-of-fold scores to choose thresholds and calibrate"
    if task != model.tasks[0]:
        return f"they are valid for {model.tasks[0]}, and these images were scored as {task}"
    return ""


def _notes(
    record: dict[str, Any], lesions: Sequence[LesionScore], labelled: Sequence[LesionScore]
) -> list[str]:
    notes = []
    n_malignant, n_benign = record["n_malignant"], record["n_benign"]
    is_small = min(n_malignant, n_benign) < MIN_LESIONS
    if unrecognized := unrecognized_truths(lesions).total():
        notes.append(f"{_count(unrecognized, 'lesion')}: {UNKNOWN_TRUTH}")
    if record["clustered_by"] == LESION:
        notes.append(NO_PATIENTS)
    for model in record["models"]:
        cluster = record["clustered_by"]
        if n_known := model.get(f"n_training_{cluster}s"):
            notes.append(
                f"{n_known} of {_count(record[f'n_{cluster}s'], cluster)} have the id of a training"
                f" case of {model['run']}: if they are the same {cluster}s, the results are"
                " optimistic"
            )
    if not (n_malignant and n_benign):
        only = "malignant" if n_malignant else "benign"
        undefined = "specificity" if n_malignant else "sensitivity"
        notes.append(f"all lesions are {only}: AUC, {undefined} and calibration are not defined")
    elif is_small and any(model["calibration"] for model in record["models"]):
        notes.append(FEW_LESIONS)
    if n_flagged := sum(bool(lesion.flags) for lesion in labelled):
        notes.append(
            f"{n_flagged} of {_count(len(labelled), 'evaluated lesion')} are flagged: they or their"
            " images differ from those of the training"
        )
    return notes


def _auc_text(auc: dict[str, Any] | None) -> str:
    if auc is None:
        return "not defined"
    interval = _interval(auc["ci_low"], auc["ci_high"])
    return f"{auc['auc']:.3f} {interval}{_status_text(auc['status'])}"


def _point_text(points: Sequence[dict[str, Any]], name: str) -> str:
    for point in points:
        if point["name"] == name:
            rates = [
                f"{rate} {point[rate]['value']:.2f}"
                f" {_interval(point[rate]['ci_low'], point[rate]['ci_high'], '.2f')}"
                for rate in ("sensitivity", "specificity")
                if point[rate]
            ]
            return f"{point['threshold']:.4f}, {', '.join(rates)}"
    return _none()


def _large_text(check: dict[str, Any]) -> str:
    low, high = check["difference_ci_low"], check["difference_ci_high"]
    return (
        f"{check['mean_probability']:.2f}; fraction malignant {check['fraction_malignant']:.2f},"
        f" difference {check['difference']:+.2f} {_interval(low, high, '+.2f')}"
    )


def _error_text(check: dict[str, Any]) -> str:
    interval = _interval(check["ci_low"], check["ci_high"])
    return (
        f"{check['expected_error']:.3f} {interval}; under perfect calibration"
        f" {check['if_perfect']:.3f}"
    )


def _brier_text(check: dict[str, Any]) -> str:
    return f"{check['brier']:.3f} {_interval(check['brier_ci_low'], check['brier_ci_high'])}"


def _status_text(status: str) -> str:
    """Return a status of mtl_jax.roc other than ok (docs/roc.md) as the end of a sentence."""
    return "" if status == "ok" else f", status {status}"


def _none(reason: str = "") -> str:
    return f"none: {reason}" if reason else "none"


def _interval(low: float, high: float, form: str = ".3f") -> str:
    return f"(95% CI {low:{form}} to {high:{form}})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
