"""Draw galleries of the misclassified ROIs with their scores."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from mtl_jax.report import roi_images
from mtl_jax.report.analysis_results import Rois
from mtl_jax.report.figure_style import ReportFigure, svg_element
from mtl_jax.report.phrases import approach_name
from mtl_jax.report.read_workdir import ScoreTable

N_COLUMNS = 4
TILE, LINE_HEIGHT = 110, 18


class Gallery(NamedTuple):
    """ROIs misclassified by the same approaches; the figure shows the worst of all `count`."""

    title: str
    count: int
    figure: ReportFigure


def misclassified(
    scores_by_approach: Mapping[str, ScoreTable],
    target: str,
    rois: Rois,
    threshold: float,
    max_rois: int,
) -> list[Gallery]:
    """Return a gallery for each class and each set of approaches that misclassify the same ROIs.

    A score from `threshold` on is malignant. The `max_rois` with the largest error are shown.
    """
    tables = {a: _target_rows(s, target) for a, s in scores_by_approach.items() if target in s.task}
    if not tables:
        return []
    names = list(tables)
    first = tables[names[0]]
    row_of = {roi_id: i for i, roi_id in enumerate(first.roi_id.tolist())}
    score = np.full((len(names), len(row_of)), np.nan)
    for i, table in enumerate(tables.values()):
        score[i, [row_of[r] for r in table.roi_id.tolist()]] = table.score
    galleries = []
    for label, error in (
        (1, "Malignant, classified as benign"),
        (0, "Benign, classified as malignant"),
    ):
        wrong = (score < threshold if label else score >= threshold) & (first.label == label)
        for subset in _subsets(len(names)):
            mask = (wrong == np.array(subset)[:, None]).all(0)
            rows = np.flatnonzero(mask)
            if not len(rows):
                continue
            order = np.argsort(score[:, rows].mean(0) * (1 if label else -1), kind="stable")
            rows = rows[order]
            by = [
                approach_name(name)
                for name, is_wrong in zip(names, subset, strict=True)
                if is_wrong
            ]
            only = " only" if len(by) == 1 < len(names) else ""
            title = f"{error} by {' and '.join(by)}{only}"
            name = f"misclassified-{'malignant' if label else 'benign'}-{'-'.join(by).lower()}"
            figure = _draw(name, title, rows[:max_rois], first, names, score, rois)
            galleries.append(Gallery(title, len(rows), figure))
    return galleries


def _subsets(count: int) -> list[tuple[bool, ...]]:
    """Return all sets of approaches except the empty set, the largest first."""
    subsets = [tuple(bool(n >> i & 1) for i in range(count)) for n in range(1, 2**count)]
    return sorted(subsets, key=lambda subset: -sum(subset))


def _target_rows(table: ScoreTable, target: str) -> ScoreTable:
    rows = table.task == target
    return ScoreTable(*(column[rows] for column in table))


def _draw(
    name: str,
    title: str,
    rows: np.ndarray,
    table: ScoreTable,
    names: Sequence[str],
    score: np.ndarray,
    rois: Rois,
) -> ReportFigure:
    images = dict(zip(rois.roi_id.tolist(), rois.picture, strict=False))
    text_height = LINE_HEIGHT * len(names) + 12
    tiles = []
    for tile, row in enumerate(rows):
        x, y = (tile % N_COLUMNS) * (TILE + 8), (tile // N_COLUMNS) * (TILE + text_height)
        roi_id = str(table.roi_id[row])
        if roi_id in images:
            image = Markup('<image x="{}" y="{}" width="{}" height="{}" href="{}"/>').format(
                x, y, TILE, TILE, roi_images.data_url(images[roi_id], 75)
            )
        else:
            image = Markup(
                '<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="currentColor" '
                'stroke-opacity=".4"/>'
            ).format(x, y, TILE, TILE)
        lines = Markup("").join(
            Markup(
                '<text x="{}" y="{}" font-size="15" fill="currentColor">{} {:.2f}</text>'
            ).format(
                x, y + TILE + LINE_HEIGHT * (i + 1) - 1, approach_name(approach), score[i, row]
            )
            for i, approach in enumerate(names)
        )
        tiles.append(Markup("<g><title>{}</title>{}{}</g>").format(roi_id, image, lines))
    n_rows = -(-len(rows) // N_COLUMNS)
    width = N_COLUMNS * (TILE + 8) - 8
    svg = svg_element(
        title, f"0 0 {width} {n_rows * (TILE + text_height)}", Markup("").join(tiles), "gallery"
    )
    data = [
        (str(table.roi_id[row]), int(table.label[row]), *score[:, row].tolist()) for row in rows
    ]
    return ReportFigure(name, svg, ("roi_id", "label", *names), data)
