"""What tools/score.py leaves: two CSV, one JSON, pictures and one HTML page. It computes nothing.

lesions.csv views.csv       a row a lesion; a row a lesion in an image
scores.json                 the same, with neighbours, flags and the model
pictures/N-roi.png N-evidence.png
scores.html                 all of it on one page that opens offline (bundle/html_page.py)
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
from mtl_jax.io.csv_safe import as_csv, harmless_row
from mtl_jax.types import InputError

TRUTH = {1: "malignant", 0: "benign"}


class ModelScores(NamedTuple):
    """What one model makes of the lesions, scored as those of the collection `task`."""

    model: Model
    task: str
    lesions: Sequence[LesionScore]


def write(folder: Path, result: ModelScores, compared: ModelScores | None = None) -> dict[str, Any]:
    """Write everything into `folder`, which must be new or empty; return what the JSON holds.

    `compared` is what a second model makes of the same lesions, beside the first everywhere.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not empty; choose another --out")
    try:
        (folder / "pictures").mkdir(parents=True)
        found = to_record(result)
        images = _all_pictures(result, found)
        if compared:
            found["compared"] = to_record(compared)
            images |= _second_pictures(result, compared, found)
        for name, data in images.items():
            (folder / name).write_bytes(data)
        text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (folder / "scores.json").write_text(text, encoding="utf-8")
        _table(folder / "lesions.csv", _lesion_rows(found))
        _table(folder / "views.csv", _view_rows(found))
        abouts = [result.model.about] + ([compared.model.about] if compared else [])
        (folder / "scores.html").write_text(
            html_page.render(found, abouts, images), encoding="utf-8", newline="\n"
        )
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return found


def to_record(result: ModelScores) -> dict[str, Any]:
    """What scores.json holds of one model; null where a number is not known."""
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
        "lesions": [_lesion(model, lesion) for lesion in lesions],
    }


def fingerprint(found: dict[str, Any]) -> str:
    """Return what names the lookup table of these lesions' pseudonyms."""
    ids = [[line["case_id"], line["lesion_id"]] for line in found["lesions"]]
    ids += [[view["image"]] for line in found["lesions"] for view in line["views"]]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _lesion(model: Model, lesion: LesionScore) -> dict[str, Any]:
    return {
        "case_id": lesion.case_id,
        "lesion_id": lesion.lesion_id,
        "truth": TRUTH.get(lesion.label, ""),
        "score": lesion.score,
        "probability": _known(lesion.probability),
        "prevalence": _prevalence(model, lesion),
        "percentile_benign": _known(lesion.percentile_benign),
        "percentile_malignant": _known(lesion.percentile_malignant),
        "called_malignant_at": [
            point["name"]
            for point in model.about["operating_points"]
            if lesion.score >= point["threshold"]
        ],
        "nearest": [one._asdict() | {"label": TRUTH[one.label]} for one in lesion.nearest],
        "flags": list(lesion.flags),
        "views": [_view(view) for view in lesion.views],
    }


def _prevalence(model: Model, lesion: LesionScore) -> float | None:
    """For which the probability holds; None where there is no probability."""
    if math.isnan(lesion.probability):
        return None
    return model.about["calibration"]["lesion"]["prevalence"]


def _view(view: ViewScore) -> dict[str, Any]:
    v = view.asked.view
    return {
        "image": view.asked.name,
        "frame": v.frame,
        "view": v.view,
        "laterality": v.laterality,
        "box": list(v.box),
        "pixel_um": list(v.pixel_um),
        "spacing_source": v.spacing_source,
        "score": view.score,
        "probability": _known(view.probability),
        "flags": list(view.flags),
        "notes": [note.text for note in view.notes],
    }


def _pictures(
    view: ViewScore, line: dict[str, Any], number: int, suffix: str = ""
) -> dict[str, bytes]:
    """The pictures by name; `line` learns their names."""
    line["roi"] = f"pictures/{number:04d}-roi{suffix}.png"
    made = {line["roi"]: images.roi_png(view.counts)}
    line["evidence"] = None
    if view.evidence is not None:
        line["evidence"] = f"pictures/{number:04d}-evidence{suffix}.png"
        made[line["evidence"]] = images.attribution_png(view.counts, view.evidence)
    return made


def _all_pictures(result: ModelScores, found: dict[str, Any]) -> dict[str, bytes]:
    images: dict[str, bytes] = {}
    number = 0
    for lesion, line in zip(result.lesions, found["lesions"], strict=True):
        for view, view_line in zip(lesion.views, line["views"], strict=True):
            images |= _pictures(view, view_line, number)
            number += 1
    return images


def _second_pictures(
    result: ModelScores, compared: ModelScores, found: dict[str, Any]
) -> dict[str, bytes]:
    """The second model's maps, and its ROIs where it corrects the background otherwise."""
    images: dict[str, bytes] = {}
    number = 0
    lines = zip(found["lesions"], found["compared"]["lesions"], strict=True)
    for first, second, (line, own) in zip(result.lesions, compared.lesions, lines, strict=True):
        for i, view in enumerate(second.views):
            made = _pictures(view, own["views"][i], number, "-compared")
            number += 1
            if np.array_equal(view.counts, first.views[i].counts):
                del made[own["views"][i]["roi"]]
                own["views"][i]["roi"] = line["views"][i]["roi"]
            images |= made
    return images


def _lesion_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [_flat(line) for line in found["lesions"]]
    for row, other in zip(rows, found.get("compared", {"lesions": []})["lesions"], strict=False):
        row["compared_score"], row["compared_probability"] = other["score"], other["probability"]
    return rows


def _view_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for i, line in enumerate(found["lesions"]):
        for j, view in enumerate(line["views"]):
            ids = {"case_id": line["case_id"], "lesion_id": line["lesion_id"]}
            rows.append(ids | _flat(view))
            if "compared" in found:
                other = found["compared"]["lesions"][i]["views"][j]
                rows[-1]["compared_score"] = other["score"]
                rows[-1]["compared_evidence"] = other["evidence"]
    return rows


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    """A row of a table: lists in one cell, the nested parts left to the JSON."""
    cells = {}
    for name, value in line.items():
        if name in ("views", "nearest"):
            continue
        cells[name] = ";".join(map(str, value)) if isinstance(value, list) else value
    if "nearest" in line:
        near = [
            f"{n['label']}:{n['task']}/{n['case_id']}/{n['lesion_id']}" for n in line["nearest"]
        ]
        cells["nearest"] = ";".join(near)
    return cells


def _table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = as_csv(rows[0], (harmless_row(row.values()) for row in rows))
    path.write_text(text, encoding="utf-8", newline="")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
