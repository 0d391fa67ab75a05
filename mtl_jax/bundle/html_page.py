"""Render scores.html, one self-contained page of the scored lesions.

Its only script sorts and filters the table. The content security policy allows this script by its
SHA-256 and no other script, and no network request.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mtl_jax.bundle import evaluation
from mtl_jax.bundle.reliability import reliability_figure
from mtl_jax.imaging.roi import RoiSettings

TEMPLATE = Path(__file__).with_name("scores.html")
SCRIPT = Path(__file__).with_name("scores.js")


def render(
    scores: dict[str, Any], abouts: Sequence[dict[str, Any]], images: dict[str, bytes]
) -> str:
    """Return the page as HTML; every text from files is escaped.

    `scores` is scores.json, `abouts` bundle.json of each model, `images` PNG images by file name.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = SCRIPT.read_text(encoding="utf-8")
    records = [scores] + ([scores["compared"]] if "compared" in scores else [])
    models = []
    for letter, record, about in zip("AB", records, abouts, strict=False):
        lesions = [lesion | {"letter": letter} for lesion in record["lesions"]]
        checks = _checks(about, scores["evaluation"], len(models))
        extent_mm = RoiSettings.from_record(about["preprocessing"]).extent_mm
        model = {"letter": letter, "about": about, "lesions": lesions, "checks": checks}
        model["extent_mm"] = extent_mm
        models.append(record | model | {"figure": reliability_figure(checks)})
    by_lesion = zip(*(model["lesions"] for model in models), strict=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        use=scores["use"],
        evaluation=_evaluation(scores["evaluation"]),
        models=models,
        lesions=[_table_row(by_model) for by_model in by_lesion],
        data={
            name: "data:image/png;base64," + base64.b64encode(data).decode()
            for name, data in images.items()
        },
        # The script is a file of this package and does not contain '</script>'.
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _checks(
    about: dict[str, Any], evaluated: dict[str, Any] | None, number: int
) -> list[dict[str, Any]]:
    """Return the checks of the calibration of model `number`, the last one on these images."""
    if about["calibration"] is None:
        return []
    here = evaluated["models"][number]["calibration"] if evaluated else None
    return [*about["calibration"]["lesion"]["checks"], *([here] if here else [])]


def _evaluation(evaluated: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the evaluation as sentences, table and notes; None if there is none."""
    if evaluated is None:
        return None
    sentences = evaluation.describe(evaluated)
    difference = evaluation.difference_text(evaluated, "A − B")
    return {
        "sentences": [text[0].upper() + text[1:] + "." for text in sentences],
        "table": evaluation.table(evaluated),
        "difference": difference[:1].upper() + difference[1:],
        "notes": evaluated["notes"],
    }


def _table_row(by_model: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one lesion with its record by each model and the columns of the table."""
    first = by_model[0]
    scores = [view["score"] for view in first["views"]]
    sides = sorted({view["laterality"] for view in first["views"]} - {""})
    views = [*sides, *dict.fromkeys(view["view"] for view in first["views"])]
    return {
        "by_model": by_model,
        "case_id": first["case_id"],
        "lesion_id": first["lesion_id"],
        "truth": first["truth"],
        "views": " ".join(views).strip(),
        "spread": max(scores) - min(scores),
        "difference": first["score"] - by_model[-1]["score"],
        "notes": sum(len(view["notes"]) for view in first["views"]),
    }
