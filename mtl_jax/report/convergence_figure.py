"""Draws how far tasks and truths lie apart in each layer's features. Computes no number."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from mtl_jax.report.figure_style import INK, STYLE, ReportFigure, line, linestyle, sheet, svg

# (name, measure, groups, ROIs, what is drawn, label of its axis)
PANELS = (
    ("tasks", "silhouette", "task", "learned", "silhouette of the collections"),
    ("truth", "silhouette", "truth", "scored", "silhouette of malignant, benign"),
)


def convergence_figures(found: Mapping[str, Sequence[Mapping[str, str]]]) -> list[ReportFigure]:
    """A panel each for the silhouette of collections and of truths, a line an approach; and a panel
    an approach for the discrepancy of each pair of collections. What was not measured has none."""
    panels = [
        _panel(name, label, {a.upper(): _of(rows, *which) for a, rows in found.items()})
        for name, *which, label in PANELS
    ]
    pairs = dict.fromkeys(
        row["groups"] for rows in found.values() for row in rows if row["measure"] == "mmd2"
    )
    for approach, rows in found.items():
        label = f"squared discrepancy, {approach.upper()}"
        own = {pair: _of(rows, "mmd2", pair, "learned") for pair in pairs}
        panels.append(_panel(f"mmd-{approach}", label, own))
    return [panel for panel in panels if panel]


def _of(
    rows: Sequence[Mapping[str, str]], measure: str, groups: str, rois: str
) -> list[Mapping[str, str]]:
    wanted = (measure, groups, rois)
    return [row for row in rows if (row["measure"], row["groups"], row["rois"]) == wanted]


def _panel(
    name: str, label: str, series: Mapping[str, Sequence[Mapping[str, str]]]
) -> ReportFigure | None:
    series = {key: rows for key, rows in series.items() if rows}
    if not series:
        return None
    data = []
    with matplotlib.rc_context(STYLE):
        figure, axes = sheet(3.6, 2.7 + 0.18 * -(-len(series) // 2))
        axes.axhline(0, color=INK, linewidth=0.6, alpha=0.5)
        for i, (key, rows) in enumerate(series.items()):
            layers = [row["layer"] for row in rows]
            value, se = (np.array([float(row[k]) for row in rows]) for k in ("value", "se"))
            x = np.arange(len(layers)) + 0.06 * (i - (len(series) - 1) / 2)
            axes.errorbar(
                x,
                value,
                1.96 * se,
                color=line(i),
                linestyle=linestyle(i),
                marker="o",
                markersize=3.5,
                elinewidth=0.8,
                label=key,
            )
            axes.set_xticks(np.arange(len(layers)), layers)
            data += [(key, row["layer"], row["value"], row["se"], row["n"]) for row in rows]
        axes.set(xlabel="layer", ylabel=label)
        figure.legend(loc="outside lower left", ncols=2)
        drawn = svg(figure, f"{label} by layer")
    return ReportFigure(f"convergence-{name}", drawn, ("series", "layer", "value", "se", "n"), data)
