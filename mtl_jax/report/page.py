"""Puts a finished work folder into report.html. Words no sentence and draws no curve itself."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from mtl_jax.io import atomic
from mtl_jax.report import (
    backbone_descriptions,
    collect_figures,
    figure_style,
    methods,
    phrases,
    read_workdir,
    roc_curves,
    roi_images,
    statements,
    tables,
    training_figure,
)
from mtl_jax.report.export import export

TEMPLATES = Path(__file__).with_name("templates")


class CaptionCounter:
    """'Table 1.', 'Table 2.' ... as the page asks for them; nothing else may number them."""

    def __init__(self, noun: str) -> None:
        self._noun, self._number = noun, 0

    def __call__(self) -> Markup:
        self._number += 1
        return Markup("<b>{} {}.</b>").format(self._noun, self._number)

    def before(self) -> str:
        """The one before the latest."""
        return f"{self._noun} {self._number - 1}"

    def after(self) -> str:
        return f"{self._noun} {self._number + 1}"


def write(folder: Path) -> Path:
    """Writes `folder`/report.html, one self-contained file, whole or not at all, and the figures in
    `folder`/figures/; returns the page's path.

    The same results give the same bytes. InputError where the job has not finished.
    """
    work = read_workdir.read(folder)
    shown = collect_figures.collect(work)
    page = render(work, shown)
    export(shown.all(), folder / "figures")
    path = folder / "report.html"
    atomic.write_text(path, page)
    return path


def render(work: read_workdir.WorkFolder, shown: collect_figures.ReportFigures) -> str:
    """The page as text. Everything that comes from the folder is escaped by the template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": phrases.format_number,
        "signed": lambda value: _typeset(phrases.format_signed(value)),
        "typeset": _typeset,
        "p": phrases.format_p_value,
        "method": phrases.method_name,
        "approach": phrases.approach_name,
        "join_and": phrases.join_and,
        "duration": tables.duration,
    }
    script = Markup((TEMPLATES / "hover.js").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        work=work,
        results=work.results,
        words=phrases,
        statements=statements,
        backbone=backbone_descriptions.describe_backbone(work),
        tables=tables,
        units=collect_figures.UNITS,
        figures=shown,
        task_names=collect_figures.tasks(work),
        perplexity=_perplexity(work),
        sections=_sections(work, shown),
        methods=methods.paragraphs(work),
        key=figure_style.key,
        training_line=training_figure.TRAINING,
        validation_line=training_figure.VALIDATION,
        samples=roc_curves.SAMPLES,
        scale=_scale(work),
        figure=CaptionCounter("Figure"),
        table=CaptionCounter("Table"),
        phantom=" (phantom results)" if phrases.is_phantom(work) else "",
        rois=_rois(work) if work.findings else "",
        sheet=_sheet(work) if work.findings else None,
        script=script,
        # Nothing is fetched and no script but ours runs, whatever a name in the folder holds.
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
    )


def _sections(
    work: read_workdir.WorkFolder, shown: collect_figures.ReportFigures
) -> list[tuple[str, str]]:
    found = [("results", "Results")]
    if shown.splits or shown.depth or shown.learning_curve:
        found.append(("stages", "Stages"))
    if work.findings:
        found.append(("inside", "Inside the networks"))
    found += [("data", "Data"), ("network", "Network")]
    if shown.training or shown.validation:
        found.append(("training", "Training"))
    return [*found, ("methods", "Methods and checklist"), ("settings", "Settings and machine")]


def _typeset(text: str) -> str:
    """Minus signs for hyphens, and spaces that do not break within a number's expression."""
    text = re.sub(r"(?<![^ (])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"\b(p) ([=<]) (?=\d)", "\\1\N{NO-BREAK SPACE}\\2\N{NO-BREAK SPACE}", text)


def _rois(work: read_workdir.WorkFolder) -> Markup:
    """What the page says of each ROI, by number, as JSON that ends no script element."""
    rois = work.findings.rois
    target = work.results["target"]
    scores: dict[str, list[str]] = {}
    for approach, scored in work.scores.items():
        own = np.flatnonzero(scored.task == target)
        for i in own:
            said = f"{phrases.approach_name(approach)} {scored.score[i]:.2f}"
            scores.setdefault(str(scored.roi_id[i]), []).append(said)
    rows = []
    columns = (rois.roi_id, rois.task, rois.label, rois.learned)
    for roi_id, task, label, learned in zip(*(c.tolist() for c in columns), strict=True):
        what = f"{task}, {'malignant' if label else 'benign'}, {'' if learned else 'not '}learned"
        said = [] if learned else scores.get(roi_id, [])
        rows.append((roi_id, what, f"score {', '.join(said)}" if said else ""))
    text = json.dumps({"across": roi_images.ACROSS, "side": 2 * roi_images.THUMB, "rows": rows})
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _sheet(work: read_workdir.WorkFolder) -> dict[str, Any] | None:
    """All ROIs in one picture, shown at twice its size."""
    picture = work.findings.rois.picture
    if not len(picture):
        return None
    sheet = roi_images.sheet(picture)
    return {"url": roi_images.data_url(sheet, 70), "width": 2 * sheet.shape[1]}


def _perplexity(work: read_workdir.WorkFolder) -> float:
    """That of the embeddings, which few ROIs make smaller than what was asked."""
    made = (
        [e for layers in work.findings.embeddings.values() for e in layers.values()]
        if (work.findings)
        else []
    )
    return min((e.perplexity for e in made), default=0.0)


def _scale(work: read_workdir.WorkFolder) -> float:
    """Where the scale of the intervals drawn in the table of areas begins; it ends at 1."""
    aucs = list(work.results["auc"])
    for part in ("conventional", "cross_validation"):
        aucs += work.results.get(part, {}).get("auc", [])
    lowest = min((area["ci_low"] for area in aucs), default=0.4)
    return min(0.4, int(lowest * 10) / 10)
