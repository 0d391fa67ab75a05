"""Every figure of a report, made from a finished work folder. Draws none and lays out none."""

from typing import Any, NamedTuple

import numpy as np

from mtl_jax.report import convergence_figure, embedding_figure, gallery, maps_figure, statements
from mtl_jax.report.analysis_results import Findings
from mtl_jax.report.figure_style import ReportFigure
from mtl_jax.report.read_workdir import WorkFolder
from mtl_jax.report.roc_curves import Curve, curves
from mtl_jax.report.roc_figure import roc_figure
from mtl_jax.report.stage_figures import depth_figure, learning_curve_figure, splits_figure
from mtl_jax.report.training_figure import history_figure, validation_figures

UNITS = ("lesion", "view")


class ExplainedRoi(NamedTuple):
    """An ROI that the networks were asked about, and the maps of each approach."""

    kind: str
    label: int
    roi_id: str
    maps: list[tuple[str, ReportFigure]]


class ValidationGroup(NamedTuple):
    """Loss and AUC of the held-out folds while these runs, of one approach and network, learned."""

    approach: str
    network: str
    runs: list[dict[str, Any]]
    panels: list[ReportFigure]

    @property
    def counts(self) -> str:
        """How many ROIs of the target each run holds out: '12' or '12 to 14'."""
        counts = {run["rois_scored"][run["tasks"][0]] for run in self.runs}
        return " to ".join(map(str, sorted({min(counts), max(counts)})))


class ReportFigures(NamedTuple):
    """Figures by where they stand; empty or None where the job has nothing for them."""

    curves: dict[str, list[Curve]]
    roc: dict[str, ReportFigure]
    splits: ReportFigure | None
    depth: ReportFigure | None
    learning_curve: list[ReportFigure]
    scores: ReportFigure | None
    tsne: dict[str, list[tuple[str, ReportFigure]]]
    convergence: list[ReportFigure]
    explained: list[ExplainedRoi]
    galleries: list[gallery.Gallery]
    training: dict[str, list[ReportFigure]]
    validation: list[ValidationGroup]

    def all(self) -> list[ReportFigure]:
        found = [*self.roc.values(), *self.learning_curve, *self.convergence]
        found += [one for one in (self.splits, self.depth, self.scores) if one]
        found += [drawn for panels in self.tsne.values() for _, drawn in panels]
        found += [drawn for roi in self.explained for _, drawn in roi.maps]
        found += [gallery.drawn for gallery in self.galleries]
        found += [drawn for one in self.validation for drawn in one.panels]
        return found + [drawn for panels in self.training.values() for drawn in panels]


def collect(work: WorkFolder) -> ReportFigures:
    results, found = work.results, work.findings
    drawn_curves = {unit: curves(work, unit) if work.compares_approaches else [] for unit in UNITS}
    chosen, note = results["selection"], statements.curve_scores(work)
    return ReportFigures(
        drawn_curves,
        {
            unit: roc_figure(own, unit, work.tests(unit), note, _means(work, unit) if note else {})
            for unit, own in drawn_curves.items()
            if own
        },
        splits_figure(results["splits"], chosen["split"]["chosen"], chosen["split"]["unit"])
        if "splits" in results
        else None,
        depth_figure(results["depth"], chosen["network"]["chosen"], chosen["network"]["unit"])
        if "depth" in results
        else None,
        [learning_curve_figure(results["learning_curve"], unit) for unit in UNITS]
        if "learning_curve" in results
        else [],
        _scores(work, found) if found else None,
        _tsne(work, found) if found else {},
        convergence_figure.convergence_figures(_ordered(work, found.convergence)) if found else [],
        _explained(work, found) if found else [],
        gallery.misclassified(
            work.scores,
            results["target"],
            found.rois,
            work.config["analysis"]["threshold"],
            work.config["analysis"]["gallery"],
        )
        if found
        else [],
        {
            approach: _training(work, approach)
            for approach in work.approaches
            if work.compares_approaches
        },
        _validation(work),
    )


def _means(work: WorkFolder, unit: str) -> dict[str, dict[str, Any]]:
    """The headline of each approach on the target."""
    return {area["study"]: area for area in work.headline_aucs(unit)}


def _ordered(work: WorkFolder, of: dict[str, Any]) -> dict[str, Any]:
    """By approach in the order of the study, not of the alphabet."""
    return {approach: of[approach] for approach in work.approaches if approach in of}


def tasks(work: WorkFolder) -> list[str]:
    """The collections as the analyses took them: the target first."""
    names = [c["name"] for c in work.results["collections"]]
    target = work.results["target"]
    return [target, *(name for name in names if name != target)]


def _tsne(work: WorkFolder, found: Findings) -> dict[str, list[tuple[str, ReportFigure]]]:
    """By layer, each approach's embedding."""
    panels: dict[str, list[tuple[str, ReportFigure]]] = {}
    for approach, layers in _ordered(work, found.embeddings).items():
        for layer, made in layers.items():
            drawn = embedding_figure.tsne_figure(approach, layer, made, found.rois, tasks(work))
            panels.setdefault(layer, []).append((approach, drawn))
    return panels


def _explained(work: WorkFolder, found: Findings) -> list[ExplainedRoi]:
    rois: list[ExplainedRoi] = []
    for approach, maps in _ordered(work, found.maps).items():
        for row, roi_id in enumerate(maps.roi_id.tolist()):
            if row == len(rois):
                rois.append(ExplainedRoi(maps.kind[row], int(maps.label[row]), roi_id, []))
            rois[row].maps.append((approach, maps_figure.maps_figure(approach, maps, row)))
    return rois


def _scores(work: WorkFolder, found: Findings) -> ReportFigure | None:
    """The first two approaches that score the target, against each other."""
    target = work.results["target"]
    own = {a: s for a, s in work.scores.items() if target in s.task}
    if len(own) < 2:
        return None
    tables = [
        dict(
            zip(
                s.roi_id[s.task == target].tolist(), s.score[s.task == target].tolist(), strict=True
            )
        )
        for s in list(own.values())[:2]
    ]
    # An ROI that is in both parts of the sample stands first as learned, where it has no score.
    rows = np.array([i for i, r in enumerate(found.rois.roi_id.tolist()) if r in tables[0]])
    rows = rows[~found.rois.learned[rows]]
    scores = [np.array([t[found.rois.roi_id[i]] for i in rows]) for t in tables]
    names = tuple(list(own)[:2])
    return embedding_figure.score_figure(names, tuple(scores), found.rois, rows)


def _training(work: WorkFolder, approach: str) -> list[ReportFigure]:
    runs = [run for run in work.runs if run["approach"] == approach]
    histories = {run["id"]: work.histories[run["id"]] for run in runs}
    return [
        history_figure(approach, histories, runs[0]["tasks"], quantity)
        for quantity in ("loss", "accuracy")
    ]


def _validation(work: WorkFolder) -> list[ValidationGroup]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in work.validated:
        groups.setdefault((run["approach"], run["network"]), []).append(run)
    found = []
    for (approach, network), runs in groups.items():
        histories = {run["id"]: work.histories[run["id"]] for run in runs}
        label = f"{approach.upper()}, {network}"
        target = runs[0]["tasks"][0]
        panels = validation_figures(f"{approach}-{network}", label, histories, target)
        found.append(ValidationGroup(approach, network, runs, panels))
    return found
