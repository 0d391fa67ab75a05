"""Render and write the output folder of tools/score.py.

lesions.csv                 one row per lesion
views.csv                   one row per lesion and image
scores.json                 the same, with nearest training lesions, flags and the model
evaluation.json             evaluation, if a lesion has a reference standard (bundle/evaluation.py)
pictures/N-roi.png          ROI of view N
pictures/N-evidence.png     ROI of view N with its attribution map
scores.html                 one page that opens offline (bundle/html_page.py)
sr/report-N.dcm             Structured Report of a study, if requested (bundle/sr.py)

All files are in memory before the first is written, and the folder is complete when it appears.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax.bundle import evaluation, html_page, images, tied_scores
from mtl_jax.bundle.model import Model
from mtl_jax.bundle.scoring import LesionScore, ModelScores, ViewScore
from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import escape_row, format_csv
from mtl_jax.roc.class_names import Classes
from mtl_jax.types import InputError

CLASS_NAMES = {1: "malignant", 0: "benign"}


def check_folder(folder: Path) -> None:
    """Raise InputError, before the scoring, unless `folder` is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: not empty; choose another --out")


def render(
    results: Sequence[ModelScores], classes: Classes | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the contents of scores.json, and all files of the folder by name.

    `results` are the scores of one model or two for the same lesions, `classes` the words of the
    truth that were read as benign and malignant.
    """
    first, scores = results[0], to_record(results[0])
    files: dict[str, bytes] = {}
    for number, (view, record) in enumerate(_views(first, scores)):
        files |= _render_view(view, record, number)
    if len(results) == 2:
        scores["compared"] = to_record(results[1])
        files |= _render_compared_images(first, results[1], scores)
    images = dict(files)
    scores["evaluation"] = evaluation.evaluate(results, classes)
    if scores["evaluation"]:
        files["evaluation.json"] = _json(scores["evaluation"])
    abouts = [result.model.about for result in results]
    files["scores.json"] = _json(scores)
    files["lesions.csv"] = _csv(_lesion_rows(scores))
    files["views.csv"] = _csv(_view_rows(scores))
    files["scores.html"] = html_page.render(scores, abouts, images).encode()
    return scores, files


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into a new or empty folder, which is complete or unchanged."""
    check_folder(folder)
    folder = folder.absolute()
    # An existing folder is not replaced: it may be the current one or a mount point.
    complete = folder / "partial" if folder.exists() else folder
    with atomic.write_folder(complete) as draft:
        for name, data in files.items():
            path = draft / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    if complete != folder:
        with atomic.report_write_errors(folder):
            for path in complete.iterdir():
                path.rename(folder / path.name)
            complete.rmdir()


def to_record(result: ModelScores) -> dict[str, Any]:
    """Return the part of scores.json for one model; unknown numbers are None."""
    model, task, lesions = result
    about = model.about
    return {
        "use": about["use"],
        "phantom": about["phantom"],
        "model": {
            "run": about["run"]["id"],
            "approach": about["run"]["approach"],
            "sha256": model.sha256,
            "made_with": about["made_with"],
            "calibration": about["out_of_fold"] or about["no_calibration"],
            "reference_scores": about["reference_scores"][task],
        },
        "task": task,
        "notes": [note] if (note := tied_scores.describe(model, lesions)) else [],
        "lesions": [_lesion(model, task, lesion) for lesion in lesions],
    }


def fingerprint(scores: dict[str, Any]) -> str:
    """Return a digest of the ids of the lesions and images, which names the pseudonym lookup."""
    ids = [[lesion["case_id"], lesion["lesion_id"]] for lesion in scores["lesions"]]
    ids += [[view["image"]] for lesion in scores["lesions"] for view in lesion["views"]]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _lesion(model: Model, task: str, lesion: LesionScore) -> dict[str, Any]:
    unknown, about = math.isnan(lesion.probability), model.about
    points = model.operating_points(task)
    return {
        "case_id": lesion.case_id,
        "lesion_id": lesion.lesion_id,
        "truth": CLASS_NAMES.get(lesion.label, ""),
        "score": lesion.score,
        "probability": _or_none(lesion.probability),
        "prevalence": None if unknown else about["calibration"]["lesion"]["prevalence"],
        "percentile_benign": _or_none(lesion.percentile_benign),
        "percentile_malignant": _or_none(lesion.percentile_malignant),
        # None: no threshold is valid, as for another task than the tested collection.
        "called_malignant_at": [p["name"] for p in points if lesion.score >= p["threshold"]]
        if points
        else None,
        "nearest": [
            neighbour._asdict() | {"label": CLASS_NAMES[neighbour.label]}
            for neighbour in lesion.nearest
        ],
        "flags": list(lesion.flags),
        "views": [_view(view) for view in lesion.views],
    }


def _view(view: ViewScore) -> dict[str, Any]:
    v = view.row.view
    return {
        "image": view.row.name,
        "frame": v.frame,
        "view": v.view,
        "laterality": v.laterality,
        "box": list(v.box),
        "pixel_um": list(v.pixel_um),
        "spacing_source": v.spacing_source,
        "score": view.score,
        "probability": _or_none(view.probability),
        "flags": list(view.flags),
        "notes": [note.text for note in view.notes],
    }


def _render_view(
    view: ViewScore, record: dict[str, Any], number: int, suffix: str = ""
) -> dict[str, bytes]:
    """Return the images of a view by file name, and add the names to its record."""
    record["roi"] = f"pictures/{number:04d}-roi{suffix}.png"
    files = {record["roi"]: images.roi_png(view.counts)}
    record["evidence"] = None
    if view.attribution is not None:
        record["evidence"] = f"pictures/{number:04d}-evidence{suffix}.png"
        files[record["evidence"]] = images.attribution_png(view.counts, view.attribution)
    return files


def _views(result: ModelScores, scores: dict[str, Any]) -> list[tuple[ViewScore, dict[str, Any]]]:
    """Return all views with their records."""
    return [
        pair
        for lesion, record in zip(result.lesions, scores["lesions"], strict=True)
        for pair in zip(lesion.views, record["views"], strict=True)
    ]


def _render_compared_images(
    result: ModelScores, compared: ModelScores, scores: dict[str, Any]
) -> dict[str, bytes]:
    """Render the second model's maps, and its ROIs where they differ from those of the first."""
    files: dict[str, bytes] = {}
    pairs = zip(_views(result, scores), _views(compared, scores["compared"]), strict=True)
    for number, ((first_view, first_record), (view, record)) in enumerate(pairs):
        view_files = _render_view(view, record, number, "-compared")
        if np.array_equal(view.counts, first_view.counts):
            del view_files[record["roi"]]
            record["roi"] = first_record["roi"]
        files |= view_files
    return files


def _lesion_rows(scores: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [_cells(lesion) for lesion in scores["lesions"]]
    compared = scores.get("compared", {"lesions": []})["lesions"]
    for row, lesion in zip(rows, compared, strict=False):
        row["compared_score"], row["compared_probability"] = lesion["score"], lesion["probability"]
    return rows


def _view_rows(scores: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for i, lesion in enumerate(scores["lesions"]):
        for j, view in enumerate(lesion["views"]):
            ids = {"case_id": lesion["case_id"], "lesion_id": lesion["lesion_id"]}
            rows.append(ids | _cells(view))
            if "compared" in scores:
                compared = scores["compared"]["lesions"][i]["views"][j]
                rows[-1]["compared_score"] = compared["score"]
                rows[-1]["compared_evidence"] = compared["evidence"]
    return rows


def _cells(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as cells of a CSV row; a list becomes one cell, views are left out."""
    cells = {
        name: ";".join(map(str, value)) if isinstance(value, list) else value
        for name, value in record.items()
        if name not in ("views", "nearest")
    }
    if "nearest" in record:
        cells["nearest"] = ";".join(
            f"{n['label']}:{n['task']}/{n['case_id']}/{n['lesion_id']}" for n in record["nearest"]
        )
    return cells


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    return format_csv(rows[0], (escape_row(row.values()) for row in rows)).encode()


def _json(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode()


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
