"""The misclassified ROIs with their scores, by who mistook them. Computes no statistic."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from mtl_jax.report import roi_images
from mtl_jax.report.analysis_results import Rois
from mtl_jax.report.figure_style import ReportFigure, element
from mtl_jax.report.read_workdir import ScoreTable

ACROSS = 4
TILE, LINE = 110, 18


class Gallery(NamedTuple):
    """ROIs mistaken by the same approaches in the same way: what they are, how many in all, and
    the figure of the worst of them."""

    title: str
    count: int
    drawn: ReportFigure


def misclassified(
    scored: Mapping[str, ScoreTable],
    target: str,
    rois: Rois,
    threshold: float,
    most: int,
) -> list[Gallery]:
    """For each truth, and each set of approaches, the ROIs of the target that just these
    approaches put on the wrong side of `threshold`; at most `most`, the worst first."""
    tables = {a: _of_target(s, target) for a, s in scored.items() if target in s.task}
    if not tables:
        return []
    names = list(tables)
    first = tables[names[0]]
    at = {name: i for i, name in enumerate(first.roi_id.tolist())}
    score = np.full((len(names), len(at)), np.nan)
    for i, table in enumerate(tables.values()):
        score[i, [at[r] for r in table.roi_id.tolist()]] = table.score
    found = []
    for label, what in ((1, "Malignant, taken for benign"), (0, "Benign, taken for malignant")):
        wrong = (score < threshold if label else score >= threshold) & (first.label == label)
        for who in _subsets(len(names)):
            mask = (wrong == np.array(who)[:, None]).all(0)
            rows = np.flatnonzero(mask)
            if not len(rows):
                continue
            worst = np.argsort(score[:, rows].mean(0) * (1 if label else -1), kind="stable")
            rows = rows[worst]
            by = [name.upper() for name, is_wrong in zip(names, who, strict=True) if is_wrong]
            by_whom = f"by {by[0]} alone" if len(by) == 1 < len(names) else f"by {' and '.join(by)}"
            title = f"{what} {by_whom}"
            name = f"misclassified-{'malignant' if label else 'benign'}-{'-'.join(by).lower()}"
            drawn = _wall(name, title, rows[:most], first, names, score, rois)
            found.append(Gallery(title, len(rows), drawn))
    return found


def _subsets(count: int) -> list[tuple[bool, ...]]:
    """All sets of approaches but the empty one, the largest first."""
    every = [tuple(bool(n >> i & 1) for i in range(count)) for n in range(1, 2**count)]
    return sorted(every, key=lambda who: -sum(who))


def _of_target(scored: ScoreTable, target: str) -> ScoreTable:
    own = scored.task == target
    return ScoreTable(*(column[own] for column in scored))


def _wall(
    name: str,
    title: str,
    rows: np.ndarray,
    table: ScoreTable,
    names: Sequence[str],
    score: np.ndarray,
    rois: Rois,
) -> ReportFigure:
    picture = dict(zip(rois.roi_id.tolist(), rois.picture, strict=False))
    below = LINE * len(names) + 12
    tiles = []
    for place, row in enumerate(rows):
        x, y = (place % ACROSS) * (TILE + 8), (place // ACROSS) * (TILE + below)
        roi_id = str(table.roi_id[row])
        if roi_id in picture:
            shown = Markup('<image x="{}" y="{}" width="{}" height="{}" href="{}"/>').format(
                x, y, TILE, TILE, roi_images.data_url(picture[roi_id], 75)
            )
        else:
            shown = Markup(
                '<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="currentColor" '
                'stroke-opacity=".4"/>'
            ).format(x, y, TILE, TILE)
        lines = Markup("").join(
            Markup(
                '<text x="{}" y="{}" font-size="15" fill="currentColor">{} {:.2f}</text>'
            ).format(x, y + TILE + LINE * (i + 1) - 1, approach.upper(), score[i, row])
            for i, approach in enumerate(names)
        )
        tiles.append(Markup("<g><title>{}</title>{}{}</g>").format(roi_id, shown, lines))
    down = -(-len(rows) // ACROSS)
    width = ACROSS * (TILE + 8) - 8
    svg = element(title, f"0 0 {width} {down * (TILE + below)}", Markup("").join(tiles), "wall")
    data = [
        (str(table.roi_id[row]), int(table.label[row]), *score[:, row].tolist()) for row in rows
    ]
    return ReportFigure(name, svg, ("roi_id", "label", *names), data)
