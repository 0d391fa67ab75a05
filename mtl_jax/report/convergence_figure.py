"""Draw the separation of collections and of classes in the features of each layer."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from mtl_jax.report.figure_style import (
    INK,
    STYLE,
    ReportFigure,
    line_color,
    linestyle,
    make_axes,
    to_svg,
    wrap,
)
from mtl_jax.report.phrases import approach_name

MAX_NAME = 20  # characters of a name in a legend of two columns
MAX_LABEL = 28  # characters in a line of the label of an axis
# (name, measure, groups, ROIs, axis label)
PANELS = (
    ("tasks", "silhouette", "task", "learned", "silhouette score of collections"),
    ("truth", "silhouette", "truth", "scored", "silhouette score of classes"),
)


def convergence_figures(tables: Mapping[str, Sequence[Mapping[str, str]]]) -> list[ReportFigure]:
    """Return the panels of convergence; quantities that were not measured have none.

    Two panels show the silhouette scores of collections and of classes with a line per approach. A
    panel for each approach shows the squared maximum mean discrepancy of each pair of collections.
    """
    panels = [
        _panel(name, label, {approach_name(a): _select(rows, *key) for a, rows in tables.items()})
        for name, *key, label in PANELS
    ]
    pairs = dict.fromkeys(
        row["groups"] for rows in tables.values() for row in rows if row["measure"] == "mmd2"
    )
    for approach, rows in tables.items():
        label = f"squared MMD, {approach_name(approach)}"
        series = {pair: _select(rows, "mmd2", pair, "learned") for pair in pairs}
        panels.append(_panel(f"mmd-{approach}", label, series))
    return [panel for panel in panels if panel]


def _select(
    rows: Sequence[Mapping[str, str]], measure: str, groups: str, rois: str
) -> list[Mapping[str, str]]:
    key = (measure, groups, rois)
    return [row for row in rows if (row["measure"], row["groups"], row["rois"]) == key]


def _panel(
    name: str, label: str, series: Mapping[str, Sequence[Mapping[str, str]]]
) -> ReportFigure | None:
    series = {key: rows for key, rows in series.items() if rows}
    if not series:
        return None
    data = []
    with matplotlib.rc_context(STYLE):
        names = [wrap(key) for key in series]
        columns = 2 if max(map(len, series)) <= MAX_NAME else 1
        n_lines = -(-("\n".join(names).count("\n") + 1) // columns)
        figure, axes = make_axes(3.6, 2.7 + 0.18 * n_lines)
        axes.axhline(0, color=INK, linewidth=0.6, alpha=0.5)
        for i, (key, rows) in enumerate(series.items()):
            layers = [row["layer"] for row in rows]
            value, se = (np.array([float(row[k]) for row in rows]) for k in ("value", "se"))
            x = np.arange(len(layers)) + 0.06 * (i - (len(series) - 1) / 2)
            axes.errorbar(
                x,
                value,
                1.96 * se,
                color=line_color(i),
                linestyle=linestyle(i),
                marker="o",
                markersize=3.5,
                elinewidth=0.8,
                label=names[i],
            )
            axes.set_xticks(np.arange(len(layers)), layers)
            data += [(key, row["layer"], row["value"], row["se"], row["n"]) for row in rows]
        axes.set(xlabel="layer", ylabel=wrap(label, MAX_LABEL))
        figure.legend(loc="outside lower left", ncols=columns)
        svg = to_svg(figure, f"{label} by layer")
    return ReportFigure(f"convergence-{name}", svg, ("series", "layer", "value", "se", "n"), data)
