"""Draws t-SNE and scores as points that each stand for an ROI. Computes no embedding.

The points carry the number of their ROI, by which the page shows its picture.
"""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from mtl_jax.report.analysis_results import Embedding, Rois
from mtl_jax.report.figure_style import ReportFigure, element

SIDE = 300.0
MARGIN = 8.0
LEFT, BOTTOM = 38.0, 34.0  # of the scales of the score figure


def tsne_figure(
    approach: str, layer: str, made: Embedding, rois: Rois, tasks: Sequence[str]
) -> ReportFigure:
    """The sampled ROIs: colour by collection, malignant filled, benign open; learned ones round,
    those of the test set, in a colour of their own, square."""
    where = np.flatnonzero(rois.sampled)
    low, high = made.points.min(0), made.points.max(0)
    span = float((high - low).max()) or 1.0
    middle = (low + high) / 2
    at = SIDE / 2 + (made.points - middle) / span * (SIDE - 2 * MARGIN) * (1, -1)
    body = Markup("").join(
        _group(rois, where, at, own, number) for number, own in _groups(rois, where, tasks)
    )
    frame = Markup(
        '<rect x=".5" y=".5" width="{0}" height="{0}" fill="none" stroke="currentColor" '
        'stroke-opacity=".35"/>'
    ).format(SIDE - 1)
    label = f"t-SNE of {layer}, {approach.upper()}: {len(where)} ROIs"
    svg = element(label, f"0 0 {SIDE:g} {SIDE:g}", frame + body, "points")
    rows = [
        (rois.roi_id[i], rois.task[i], int(rois.label[i]), bool(rois.learned[i]), *xy)
        for i, xy in zip(where, made.points.tolist(), strict=True)
    ]
    columns = ("roi_id", "task", "label", "learned", "x", "y")
    return ReportFigure(f"tsne-{approach}-{layer}", svg, columns, rows)


def score_figure(
    names: tuple[str, str],
    scores: tuple[np.ndarray, np.ndarray],
    rois: Rois,
    rows: np.ndarray,
) -> ReportFigure:
    """Score by the one approach (across) against score by the other (up), a point an ROI; `rows`
    (m,) are the ROIs' numbers and `scores` (m,) each theirs."""
    x, y = (np.asarray(score, float) for score in scores)
    low = float(np.floor(10 * min(x.min(), y.min())) / 10)
    high = max(float(np.ceil(10 * max(x.max(), y.max())) / 10), low + 0.1)
    share = (np.stack([x, y], 1) - low) / (high - low)
    top, bottom, right = MARGIN, SIDE - BOTTOM, SIDE - MARGIN
    at = (LEFT, bottom) + share * (right - LEFT, top - bottom)
    body = Markup("").join(
        Markup('<g fill="{}" stroke="{}" stroke-width="1.1">{}</g>').format(
            f"var(--line-{number})" if label else "none",
            f"var(--line-{number})",
            _marks(at[rois.label[rows] == label], rows[rois.label[rows] == label], "circle"),
        )
        for label, number in ((0, 1), (1, 2))
    )
    first, second = (name.upper() for name in names)
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
    label = f"Scores of {first} against {second}, {len(rows)} ROIs"
    svg = element(label, f"0 0 {SIDE:g} {SIDE:g}", frame + body, "points")
    data = [
        (rois.roi_id[i], int(rois.label[i]), float(a), float(b))
        for i, a, b in zip(rows, x, y, strict=True)
    ]
    return ReportFigure("scores", svg, ("roi_id", "label", *names), data)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup(
        '<text x="{:g}" y="{:g}" text-anchor="{}" font-size="12" fill="currentColor">{}</text>'
    ).format(x, y, anchor, text)


def _groups(rois: Rois, where: np.ndarray, tasks: Sequence[str]) -> list[tuple[int, np.ndarray]]:
    """(number of the colour, which of `where`), the target's test ROIs last."""
    learned, task = rois.learned[where], rois.task[where]
    found = [(i + 1, learned & (task == name)) for i, name in enumerate(tasks)]
    return [*found, (len(tasks) + 1, ~learned)]


def _group(rois: Rois, where: np.ndarray, at: np.ndarray, own: np.ndarray, number: int) -> Markup:
    shape = "circle" if rois.learned[where][own].all() else "rect"
    colour = f"var(--line-{(number - 1) % 6 + 1})"
    parts = []
    for label in (0, 1):
        rows = own & (rois.label[where] == label)
        parts.append(
            Markup('<g fill="{}" stroke="{}" stroke-width="1.1">{}</g>').format(
                colour if label else "none", colour, _marks(at[rows], where[rows], shape)
            )
        )
    return Markup("").join(parts)


def _marks(at: np.ndarray, numbers: np.ndarray, shape: str) -> Markup:
    if shape == "circle":
        form = '<circle cx="{:.1f}" cy="{:.1f}" r="3" data-r="{}"/>'
        marks = [form.format(x, y, n) for (x, y), n in zip(at, numbers, strict=True)]
    else:
        form = '<rect x="{:.1f}" y="{:.1f}" width="5.2" height="5.2" data-r="{}"/>'
        marks = [form.format(x - 2.6, y - 2.6, n) for (x, y), n in zip(at, numbers, strict=True)]
    return Markup("".join(marks))
