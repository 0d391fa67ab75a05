"""Render a finished work folder as report.html."""

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
    collect_figures,
    figure_style,
    methods,
    networks,
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
    """Number the captions of the page: 'Table 1.', 'Table 2.' and so on."""

    def __init__(self, noun: str) -> None:
        self._noun, self._number = noun, 0

    def __call__(self) -> Markup:
        self._number += 1
        return Markup("<b>{} {}.</b>").format(self._noun, self._number)

    def before(self) -> str:
        """Return the name of the caption before the current one."""
        return f"{self._noun} {self._number - 1}"

    def after(self) -> str:
        """Return the name of the next caption."""
        return f"{self._noun} {self._number + 1}"


def write(folder: Path) -> Path:
    """Write report.html, one self-contained file, and figures/; return the path of report.html.

    The same results give the same bytes.
    """
    work = read_workdir.read(folder)
    figures = collect_figures.collect(work)
    page = render(work, figures)
    export(figures.all(), folder / "figures")
    path = folder / "report.html"
    atomic.write_text(path, page)
    return path


def render(work: read_workdir.WorkFolder, figures: collect_figures.ReportFigures) -> str:
    """Return the page as HTML; the templates escape every text from the folder."""
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
        "join_approaches": phrases.join_approaches,
        "duration": tables.duration,
    }
    script = Markup((TEMPLATES / "hover.js").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        work=work,
        results=work.results,
        words=phrases,
        statements=statements,
        backbones=networks.list_backbones(work),
        tables=tables,
        units=collect_figures.UNITS,
        figures=figures,
        task_names=collect_figures.ordered_tasks(work),
        perplexity=_perplexity(work),
        sections=_sections(work, figures),
        methods=methods.paragraphs(work),
        legend_key=figure_style.legend_key,
        training_line=training_figure.TRAINING,
        validation_line=training_figure.VALIDATION,
        samples=roc_curves.N_BOOTSTRAP,
        scale=_scale(work),
        figure=CaptionCounter("Figure"),
        table=CaptionCounter("Table"),
        phantom=" (phantom results)" if phrases.is_phantom(work) else "",
        rois=_roi_texts(work) if work.findings else "",
        roi_tiles=_roi_tiles(work) if work.findings else None,
        script=script,
        # Allow no network request and no other script, whatever texts the folder contains.
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
    )


def _sections(
    work: read_workdir.WorkFolder, figures: collect_figures.ReportFigures
) -> list[tuple[str, str]]:
    """Return the (anchor, title) of each section."""
    sections = [("results", "Results")]
    if figures.stages or work.earlier_comparisons:
        sections.append(("stages", "Stages"))
    if work.findings:
        sections.append(("inside", "Network analysis"))
    sections += [("data", "Data"), ("network", "Network")]
    if figures.training or figures.validation:
        sections.append(("training", "Training"))
    return [
        *sections,
        ("methods", "Methods and checklist"),
        ("settings", "Settings and environment"),
    ]


def _typeset(text: str) -> str:
    """Replace hyphens by minus signs, and spaces in 'p = 0.01' by no-break spaces."""
    text = re.sub(r"(?<![^ (])-(?=\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"\b(p) ([=<]) (?=\d)", "\\1\N{NO-BREAK SPACE}\\2\N{NO-BREAK SPACE}", text)


def _roi_texts(work: read_workdir.WorkFolder) -> Markup:
    """Return the texts on each ROI by number, as JSON that cannot close a script element."""
    rois = work.findings.rois
    target = work.results["target"]
    scores: dict[str, list[str]] = {}
    for approach, table in work.scores.items():
        for i in np.flatnonzero(table.task == target):
            text = f"{phrases.approach_name(approach)} {table.score[i]:.2f}"
            scores.setdefault(str(table.roi_id[i]), []).append(text)
    rows = []
    columns = (rois.roi_id, rois.task, rois.label, rois.learned)
    for roi_id, task, label, learned in zip(*(c.tolist() for c in columns), strict=True):
        subset = "training" if learned else "evaluation"
        description = f"{task}, {'malignant' if label else 'benign'}, {subset} set"
        roi_scores = [] if learned else scores.get(roi_id, [])
        rows.append((roi_id, description, f"score {', '.join(roi_scores)}" if roi_scores else ""))
    text = json.dumps(
        {"columns": roi_images.N_COLUMNS, "side": 2 * roi_images.THUMBNAIL, "rows": rows}
    )
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _roi_tiles(work: read_workdir.WorkFolder) -> dict[str, Any] | None:
    """Return all ROIs in one image, shown at twice its size; None without images."""
    images = work.findings.rois.picture
    if not len(images):
        return None
    tiles = roi_images.tile_rois(images)
    return {"url": roi_images.data_url(tiles, 70), "width": 2 * tiles.shape[1]}


def _perplexity(work: read_workdir.WorkFolder) -> float:
    """Return the perplexity of the embeddings, below that of the config if there are few ROIs."""
    layers = work.findings.embeddings.values() if work.findings else []
    return min((e.perplexity for by_layer in layers for e in by_layer.values()), default=0.0)


def _scale(work: read_workdir.WorkFolder) -> float:
    """Return the lower end of the scale of the intervals drawn in the AUC tables; it ends at 1."""
    aucs = list(work.results["auc"])
    for part in (work.results.get("conventional", {}), *work.earlier_comparisons.values()):
        aucs += part.get("auc", [])
    lowest = min((row["ci_low"] for row in aucs), default=0.4)
    return min(0.4, int(lowest * 10) / 10)
