"""The page of scored lesions, scores.html: one file that opens offline. It computes no score.

Its only script sorts and filters what stands in the page; the content security policy names the
script by its SHA-256 and allows nothing else, and no address anywhere.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mtl_jax.bundle.reliability import reliability_figure

TEMPLATE = Path(__file__).with_name("scores.html")
SCRIPT = Path(__file__).with_name("scores.js")


def render(
    found: dict[str, Any], abouts: Sequence[dict[str, Any]], images: dict[str, bytes]
) -> str:
    """Return the page of what scores.json holds; whatever comes from files is escaped.

    `abouts` are the bundle.json of the model, and of the second model where there is one.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = SCRIPT.read_text(encoding="utf-8")
    records = [found] + ([found["compared"]] if "compared" in found else [])
    models = []
    for letter, record, about in zip("AB", records, abouts, strict=False):
        of_model = {"letter": letter, "has_thresholds": bool(about["operating_points"])}
        seen = [line | of_model for line in record["lesions"]]
        figure = reliability_figure(about["calibration"])
        models.append(record | of_model | {"about": about, "figure": figure, "seen": seen})
    side_by_side = zip(*(model["seen"] for model in models), strict=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        found=found,
        models=models,
        lesions=[_side_by_side(lines) for lines in side_by_side],
        data={
            name: "data:image/png;base64," + base64.b64encode(data).decode()
            for name, data in images.items()
        },
        # Ours, without a word from elsewhere; '</script>' does not stand in it.
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _side_by_side(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One lesion as each model sees it, with what the table says of it as a whole."""
    first = lines[0]
    scores = [view["score"] for view in first["views"]]
    sides = sorted({view["laterality"] for view in first["views"]} - {""})
    views = [*sides, *dict.fromkeys(view["view"] for view in first["views"])]
    return {
        "seen": lines,
        "case_id": first["case_id"],
        "lesion_id": first["lesion_id"],
        "truth": first["truth"],
        "views": " ".join(views).strip(),
        "spread": max(scores) - min(scores),
        "difference": first["score"] - lines[-1]["score"],
        "notes": sum(len(view["notes"]) for view in first["views"]),
    }
