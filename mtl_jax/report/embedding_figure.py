"""Draw t-SNE embeddings and scores as points, one for each ROI.

Each point has the number of its ROI, with which the page shows the image of the ROI.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from mtl_jax.report.analysis_results import Embedding, Rois
from mtl_jax.report.figure_style import ReportFigure, svg_element
from mtl_jax.report.phrases import approach_name

SIDE = 300.0
MARGIN = 8.0
LEFT, BOTTOM = 38.0, 34.0  # margins of the score figure


def tsne_figure(
    approach: str, layer: str, embedding: Embedding, rois: Rois, tasks: Sequence[str]
) -> ReportFigure:
    """Draw the embedding of the sampled ROIs.

    Training ROIs are circles in the colour of their collection, test ROIs are squares; malignant
    ROIs are filled, benign ROIs are open.
    """
    rows = np.flatnonzero(rois.sampled)
    low, high = embedding.points.min(0), embedding.points.max(0)
    span = float((high - low).max()) or 1.0
    middle = (low + high) / 2
    xy = SIDE / 2 + (embedding.points - middle) / span * (SIDE - 2 * MARGIN) * (1, -1)
    body = Markup("").join(
        _draw_group(rois, rows, xy, members, number)
        for number, members in _groups(rois, rows, tasks)
    )
    frame = Markup(
        '<rect x=".5" y=".5" width="{0}" height="{0}" fill="none" stroke="currentColor" '
        'stroke-opacity=".35"/>'
    ).format(SIDE - 1)
    label = f"t-SNE of {layer}, {approach_name(approach)}: {len(rows)} ROIs"
    svg = svg_element(label, f"0 0 {SIDE:g} {SIDE:g}", frame + body, "points")
    data = [
        (rois.roi_id[i], rois.task[i], int(rois.label[i]), bool(rois.learned[i]), *point)
        for i, point in zip(rows, embedding.points.tolist(), strict=True)
    ]
    columns = ("roi_id", "task", "label", "learned", "x", "y")
    return ReportFigure(f"tsne-{approach}-{layer}", svg, columns, data)


def score_figure(
    names: tuple[str, str], scores: tuple[np.ndarray, np.ndarray], rois: Rois, rows: np.ndarray
) -> ReportFigure:
    """Draw the scores of two approaches against each other, one point per ROI.

    `rows` (m,) are the numbers of the ROIs and `scores` the scores (m,) of each approach.
    """
    x, y = (np.asarray(score, float) for score in scores)
    low = float(np.floor(10 * min(x.min(), y.min())) / 10)
    high = max(float(np.ceil(10 * max(x.max(), y.max())) / 10), low + 0.1)
    share = (np.stack([x, y], 1) - low) / (high - low)
    top, bottom, right = MARGIN, SIDE - BOTTOM, SIDE - MARGIN
    xy = (LEFT, bottom) + share * (right - LEFT, top - bottom)
    body = Markup("").join(
        Markup('<g fill="{}" stroke="{}" stroke-width="1.1">{}</g>').format(
            f"var(--line-{number})" if label else "none",
            f"var(--line-{number})",
            _marks(xy[rois.label[rows] == label], rows[rois.label[rows] == label], "circle"),
        )
        for label, number in ((0, 1), (1, 2))
    )
    first, second = (approach_name(name) for name in names)
    ends = (f"{low:.1f}", f"{high:.1f}")
    frame = Markup("").join(
        [
            Markup(
                '<path d="M{} {}V{}H{}M{} {}L{} {}" fill="none" stroke="currentColor" '
                'stroke-opacity=".35"/>'
            ).format(LEFT, top, bottom, right, LEFT, bottom, right, top),
            _text(LEFT, bottom + 14, ends[0], "middle"),
            _text(right, bottom + 14, ends[1], "end"),
            _text((LEFT + right) / 2, SIDE - 5, f"score of {first}", "middle"),
            _text(LEFT - 5, bottom, ends[0], "end"),
            _text(LEFT - 5, top + 8, ends[1], "end"),
            Markup('<g transform="translate(12 {}) rotate(-90)">{}</g>').format(
                (top + bottom) / 2, _text(0, 0, f"score of {second}", "middle")
            ),
        ]
    )
    label = f"Scores of {second} against {first}, {len(rows)} ROIs"
    svg = svg_element(label, f"0 0 {SIDE:g} {SIDE:g}", frame + body, "points")
    data = [
        (rois.roi_id[i], int(rois.label[i]), float(a), float(b))
        for i, a, b in zip(rows, x, y, strict=True)
    ]
    return ReportFigure("scores", svg, ("roi_id", "label", *names), data)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup(
        '<text x="{:g}" y="{:g}" text-anchor="{}" font-size="12" fill="currentColor">{}</text>'
    ).format(x, y, anchor, text)


def _groups(rois: Rois, rows: np.ndarray, tasks: Sequence[str]) -> list[tuple[int, np.ndarray]]:
    """Return (number of the colour, mask of `rows`) of each group, the test ROIs last."""
    in_training, task = rois.learned[rows], rois.task[rows]
    groups = [(i + 1, in_training & (task == name)) for i, name in enumerate(tasks)]
    return [*groups, (len(tasks) + 1, ~in_training)]


def _draw_group(
    rois: Rois, rows: np.ndarray, xy: np.ndarray, members: np.ndarray, number: int
) -> Markup:
    shape = "circle" if rois.learned[rows][members].all() else "rect"
    colour = f"var(--line-{(number - 1) % 6 + 1})"
    parts = []
    for label in (0, 1):
        mask = members & (rois.label[rows] == label)
        parts.append(
            Markup('<g fill="{}" stroke="{}" stroke-width="1.1">{}</g>').format(
                colour if label else "none", colour, _marks(xy[mask], rows[mask], shape)
            )
        )
    return Markup("").join(parts)


def _marks(xy: np.ndarray, numbers: np.ndarray, shape: str) -> Markup:
    if shape == "circle":
        template = '<circle cx="{:.1f}" cy="{:.1f}" r="3" data-r="{}"/>'
        marks = [template.format(x, y, n) for (x, y), n in zip(xy, numbers, strict=True)]
    else:
        template = '<rect x="{:.1f}" y="{:.1f}" width="5.2" height="5.2" data-r="{}"/>'
        marks = [
            template.format(x - 2.6, y - 2.6, n) for (x, y), n in zip(xy, numbers, strict=True)
        ]
    return Markup("".join(marks))
