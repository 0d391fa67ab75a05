"""Collect the figures of a report from a finished work folder."""

from typing import Any, NamedTuple

import numpy as np

from mtl_jax.report import convergence_figure, embedding_figure, gallery, maps_figure, statements
from mtl_jax.report.analysis_results import Findings
from mtl_jax.report.figure_style import ReportFigure
from mtl_jax.report.phrases import approach_name
from mtl_jax.report.read_workdir import WorkFolder
from mtl_jax.report.roc_curves import Curve, curves
from mtl_jax.report.roc_figure import roc_figure
from mtl_jax.report.stage_figures import stage_figure
from mtl_jax.report.training_figure import history_figure, validation_figures

UNITS = ("lesion", "view")


class ExplainedRoi(NamedTuple):
    """An analysed ROI and the maps of each approach."""

    kind: str
    label: int
    roi_id: str
    maps: list[tuple[str, ReportFigure]]


class ValidationGroup(NamedTuple):
    """Loss and AUC of the held-out folds during training, for an approach and a network."""

    approach: str
    network: str
    runs: list[dict[str, Any]]
    panels: list[ReportFigure]

    @property
    def counts(self) -> str:
        """Number of held-out ROIs of the target in each run: '12' or '12 to 14'."""
        counts = {run["rois_scored"][run["tasks"][0]] for run in self.runs}
        return " to ".join(map(str, sorted({min(counts), max(counts)})))


class ReportFigures(NamedTuple):
    """The figures of a report; empty or None if the job has no data for them."""

    curves: dict[str, list[Curve]]
    roc: dict[str, ReportFigure]
    stages: dict[str, dict[str, ReportFigure]]  # by stage and unit
    training: dict[str, list[ReportFigure]]
    validation: list[ValidationGroup]
    scores: ReportFigure | None
    tsne: dict[str, list[tuple[str, ReportFigure]]]
    convergence: list[ReportFigure]
    explained: list[ExplainedRoi]
    galleries: list[gallery.Gallery]

    def all(self) -> list[ReportFigure]:
        """Return all figures."""
        figures = [*self.roc.values(), *self.convergence]
        figures += [figure for panels in self.stages.values() for figure in panels.values()]
        figures += filter(None, (self.scores,))
        figures += [figure for panels in self.tsne.values() for _, figure in panels]
        figures += [figure for roi in self.explained for _, figure in roi.maps]
        figures += [gallery.figure for gallery in self.galleries]
        figures += [figure for group in self.validation for figure in group.panels]
        return figures + [figure for panels in self.training.values() for figure in panels]


def collect(work: WorkFolder) -> ReportFigures:
    """Draw all figures of a report."""
    results, findings = work.results, work.findings
    unit_curves = {unit: curves(work, unit) if work.compares_approaches else [] for unit in UNITS}
    roc, note = {}, statements.curve_scores(work)
    for unit, curve_list in unit_curves.items():
        means = {row["study"]: row for row in work.headline_aucs(unit)} if note else {}
        if curve_list:
            tests = [
                test
                for test in work.target_comparisons(unit)
                if not statements.describe_failed_networks(work, test)
            ]
            roc[unit] = roc_figure(curve_list, unit, tests, note, means)
    compared = work.approaches if work.compares_approaches else []
    training = {approach: _training(work, approach) for approach in compared}
    always = unit_curves, roc, _stages(work), training, _validation(work)
    if not findings:
        return ReportFigures(*always, None, {}, [], [], [])
    threshold, max_rois = (work.config["analysis"][key] for key in ("threshold", "gallery"))
    galleries = gallery.misclassified(
        work.scores, results["target"], findings.rois, threshold, max_rois
    )
    return ReportFigures(
        *always,
        _scores(work, findings),
        _tsne(work, findings),
        convergence_figure.convergence_figures(_ordered(work, findings.convergence)),
        _explained(work, findings),
        galleries,
    )


def _stages(work: WorkFolder) -> dict[str, dict[str, ReportFigure]]:
    """Draw the tables of the stages: at the unit of the selection of x, or else at both units."""
    figures = {}
    for stage in work.results["stages"]:
        if stage["figure"]:
            selection = work.results["selection"].get(stage["figure"]["x"], {})
            units = (selection["unit"],) if selection else UNITS
            rows, chosen = work.results[stage["stage"]], selection.get("chosen")
            figures[stage["stage"]] = {u: stage_figure(stage, rows, u, chosen) for u in units}
    return figures


def _ordered(work: WorkFolder, by_approach: dict[str, Any]) -> dict[str, Any]:
    """Sort by approach in the order of the study."""
    return {a: by_approach[a] for a in work.approaches if a in by_approach}


def ordered_tasks(work: WorkFolder) -> list[str]:
    """Return the collections in the order of the analyses, the target first."""
    names = [c["name"] for c in work.results["collections"]]
    target = work.results["target"]
    return [target, *(name for name in names if name != target)]


def _tsne(work: WorkFolder, findings: Findings) -> dict[str, list[tuple[str, ReportFigure]]]:
    """Return the embedding of each approach by layer."""
    panels: dict[str, list[tuple[str, ReportFigure]]] = {}
    for approach, layers in _ordered(work, findings.embeddings).items():
        for layer, embedding in layers.items():
            figure = embedding_figure.tsne_figure(
                approach, layer, embedding, findings.rois, ordered_tasks(work)
            )
            panels.setdefault(layer, []).append((approach, figure))
    return panels


def _explained(work: WorkFolder, findings: Findings) -> list[ExplainedRoi]:
    rois: list[ExplainedRoi] = []
    for approach, maps in _ordered(work, findings.maps).items():
        for row, roi_id in enumerate(maps.roi_id.tolist()):
            if row == len(rois):
                rois.append(ExplainedRoi(maps.kind[row], int(maps.label[row]), roi_id, []))
            rois[row].maps.append((approach, maps_figure.maps_figure(approach, maps, row)))
    return rois


def _scores(work: WorkFolder, findings: Findings) -> ReportFigure | None:
    """Draw the scores of the first two approaches on the target; None with fewer approaches."""
    target = work.results["target"]
    target_scores = {a: s for a, s in work.scores.items() if target in s.task}
    if len(target_scores) < 2:
        return None
    tables = []
    for table in list(target_scores.values())[:2]:
        rows = table.task == target
        tables.append(
            dict(zip(table.roi_id[rows].tolist(), table.score[rows].tolist(), strict=True))
        )
    # An ROI in both the training and the evaluation sample has its score in the second row.
    rows = np.array([i for i, r in enumerate(findings.rois.roi_id.tolist()) if r in tables[0]])
    rows = rows[~findings.rois.learned[rows]]
    scores = [np.array([t[findings.rois.roi_id[i]] for i in rows]) for t in tables]
    names = tuple(list(target_scores)[:2])
    return embedding_figure.score_figure(names, tuple(scores), findings.rois, rows)


def _training(work: WorkFolder, approach: str) -> list[ReportFigure]:
    runs = [run for run in work.runs if run["approach"] == approach]
    histories = {run["id"]: work.histories[run["id"]] for run in runs}
    return [
        history_figure(approach, histories, runs[0]["tasks"], quantity)
        for quantity in ("loss", "accuracy")
    ]


def _validation(work: WorkFolder) -> list[ValidationGroup]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in work.validated_runs:
        groups.setdefault((run["approach"], run["network"]), []).append(run)
    validation = []
    for (approach, network), runs in groups.items():
        histories = {run["id"]: work.histories[run["id"]] for run in runs}
        label = f"{approach_name(approach)}, {network}"
        target = runs[0]["tasks"][0]
        panels = validation_figures(f"{approach}-{network}", label, histories, target)
        validation.append(ValidationGroup(approach, network, runs, panels))
    return validation
