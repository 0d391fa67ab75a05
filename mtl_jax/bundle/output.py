"""Write the output folder of tools/score.py.

lesions.csv                 one row per lesion
views.csv                   one row per lesion and image
scores.json                 the same, with nearest training lesions, flags and the model
pictures/N-roi.png          ROI of view N
pictures/N-evidence.png     ROI of view N with its attribution map
scores.html                 one page that opens offline (bundle/html_page.py)
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.bundle import html_page, images
from mtl_jax.bundle.model import Model
from mtl_jax.bundle.scoring import LesionScore, ViewScore
from mtl_jax.io.csv_safe import escape_row, format_csv
from mtl_jax.types import InputError

CLASS_NAMES = {1: "malignant", 0: "benign"}


class ModelScores(NamedTuple):
    """The scores of one model for lesions that resemble the collection `task`."""

    model: Model
    task: str
    lesions: Sequence[LesionScore]


def write(folder: Path, result: ModelScores, compared: ModelScores | None = None) -> dict[str, Any]:
    """Write the scores into a new or empty folder, and return the contents of scores.json.

    `compared` has the scores of a second model for the same lesions.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: not empty; choose another --out")
    try:
        (folder / "pictures").mkdir(parents=True)
        scores = to_record(result)
        images: dict[str, bytes] = {}
        for number, (view, record) in enumerate(_views(result, scores)):
            images |= _render_view(view, record, number)
        if compared:
            scores["compared"] = to_record(compared)
            images |= _render_compared_images(result, compared, scores)
        for name, data in images.items():
            (folder / name).write_bytes(data)
        text = json.dumps(scores, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (folder / "scores.json").write_text(text, encoding="utf-8")
        _write_table(folder / "lesions.csv", _lesion_rows(scores))
        _write_table(folder / "views.csv", _view_rows(scores))
        abouts = [result.model.about] + ([compared.model.about] if compared else [])
        (folder / "scores.html").write_text(
            html_page.render(scores, abouts, images), encoding="utf-8", newline="\n"
        )
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return scores


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
        "lesions": [_lesion(about, lesion) for lesion in lesions],
    }


def fingerprint(scores: dict[str, Any]) -> str:
    """Return a digest of the ids of the lesions and images, which names the pseudonym lookup."""
    ids = [[lesion["case_id"], lesion["lesion_id"]] for lesion in scores["lesions"]]
    ids += [[view["image"]] for lesion in scores["lesions"] for view in lesion["views"]]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _lesion(about: dict[str, Any], lesion: LesionScore) -> dict[str, Any]:
    unknown = math.isnan(lesion.probability)
    return {
        "case_id": lesion.case_id,
        "lesion_id": lesion.lesion_id,
        "truth": CLASS_NAMES.get(lesion.label, ""),
        "score": lesion.score,
        "probability": _or_none(lesion.probability),
        "prevalence": None if unknown else about["calibration"]["lesion"]["prevalence"],
        "percentile_benign": _or_none(lesion.percentile_benign),
        "percentile_malignant": _or_none(lesion.percentile_malignant),
        "called_malignant_at": [
            point["name"]
            for point in about["operating_points"]
            if lesion.score >= point["threshold"]
        ],
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


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = format_csv(rows[0], (escape_row(row.values()) for row in rows))
    path.write_text(text, encoding="utf-8", newline="")


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
