"""What tools/score.py leaves: two CSV, one JSON, pictures and one HTML page. It computes nothing.

lesions.csv views.csv       a row a lesion; a row a lesion in an image
scores.json                 the same, with neighbours, flags and the model
pictures/N-region.png N-evidence.png
scores.html                 all of it on one page that opens offline
"""

import base64
import csv
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from mtl_jax.bundle import pictures
from mtl_jax.bundle.model import Model
from mtl_jax.bundle.reliability import reliability_figure
from mtl_jax.bundle.scoring import LesionScore, ViewScore
from mtl_jax.cells import harmless_row
from mtl_jax.nouns import InputError

TEMPLATE = Path(__file__).with_name("scores.html")
TRUTH = {1: "malignant", 0: "benign"}


def write(folder: Path, model: Model, task: str, lesions: Sequence[LesionScore]) -> dict[str, Any]:
    """Writes everything into `folder`, which must be new or empty; returns what the JSON holds."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not empty; choose another --out")
    try:
        (folder / "pictures").mkdir(parents=True)
        found = record(model, task, lesions)
        images: dict[str, bytes] = {}
        for lesion, said in zip(lesions, found["lesions"], strict=True):
            for view, line in zip(lesion.views, said["views"], strict=True):
                images |= _pictures(view, line, len(images))
        for name, data in images.items():
            (folder / name).write_bytes(data)
        text = json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        (folder / "scores.json").write_text(text, encoding="utf-8")
        _table(folder / "lesions.csv", [_flat(line) for line in found["lesions"]])
        views = [
            {"case_id": line["case_id"], "lesion_id": line["lesion_id"], **_flat(view)}
            for line in found["lesions"]
            for view in line["views"]
        ]
        _table(folder / "views.csv", views)
        page = render(model, found, images)
        (folder / "scores.html").write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return found


def record(model: Model, task: str, lesions: Sequence[LesionScore]) -> dict[str, Any]:
    """What scores.json holds; null where a number is not known."""
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


def render(model: Model, found: dict[str, Any], images: dict[str, bytes]) -> str:
    """The page; whatever comes from files is escaped by the template."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        found=found,
        about=model.about,
        data={
            name: "data:image/png;base64," + base64.b64encode(data).decode()
            for name, data in images.items()
        },
        reliability=reliability_figure(model.about["calibration"]),
    )


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


def _pictures(view: ViewScore, line: dict[str, Any], number: int) -> dict[str, bytes]:
    """The pictures by name; `line` learns their names."""
    line["region"] = f"pictures/{number:04d}-region.png"
    made = {line["region"]: pictures.region(view.counts)}
    line["evidence"] = None
    if view.evidence is not None:
        line["evidence"] = f"pictures/{number:04d}-evidence.png"
        made[line["evidence"]] = pictures.evidence(view.counts, view.evidence)
    return made


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
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(rows[0])
        table.writerows(harmless_row(row.values()) for row in rows)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
