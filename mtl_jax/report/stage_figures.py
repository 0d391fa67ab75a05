"""Draw the table of a stage: the AUC of each condition with its 95% interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from mtl_jax.report.figure_style import (
    INK,
    STYLE,
    ReportFigure,
    line_color,
    linestyle,
    make_axes,
    to_svg,
)
from mtl_jax.report.phrases import approach_name

Row = Mapping[str, Any]
COLUMNS = ("approach", "network", "split", "target_cases", "unit", "auc", "se", "ci_low", "ci_high")
MIN_FOR_BOX = 5  # initializations from which a box plot is drawn
THIN = {"color": INK, "linewidth": 0.8}


def stage_figure(
    stage: Mapping[str, Any], rows: Sequence[Row], unit: str, chosen: Any = None
) -> ReportFigure:
    """Draw the rows of a unit as `stage["figure"]` states (experiments/stages/base.py, Figure); the
    `chosen` x is shaded."""
    figure = stage["figure"]
    rows = [row for row in rows if row["unit"] == unit]
    if figure["log"]:
        rows = sorted(rows, key=lambda row: row[figure["x"]])
    values = list(dict.fromkeys(row[figure["x"]] for row in rows))
    positions = {value: value if figure["log"] else i for i, value in enumerate(values)}
    label = f"{unit.capitalize()}-level AUC by {figure['label']}"
    with matplotlib.rc_context(STYLE):
        canvas, axes = make_axes(4.8, 2.9)
        if chosen is not None:
            x = positions[chosen]
            axes.axvspan(x - 0.5, x + 0.5, color=INK, alpha=0.08, linewidth=0)
            label += f"; {chosen} selected"
        _draw_series(axes, figure, rows, positions)
        axes.set(xlabel=figure["label"], ylabel=f"{unit}-level AUC")
        if figure["log"]:
            axes.set(xscale="log")
            axes.minorticks_off()
        elif not figure["series"]:
            axes.set_xlim(-0.6, len(values) - 0.4)
        axes.set_xticks(list(positions.values()), [_name(figure["x"], v) for v in values])
        svg = to_svg(canvas, label)
    name = stage["stage"].replace("_", "-")
    return _report_figure(name if chosen is not None else f"{name}-{unit}", svg, rows)


def _draw_series(
    axes: Axes, figure: Mapping[str, Any], rows: Sequence[Row], positions: Mapping[Any, float]
) -> None:
    """Draw each series beside the others, its points to the left of its means."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[figure["series"]] if figure["series"] else "", []).append(row)
    left, right = (-0.07, 0.05) if figure["series"] else (-0.18, 0.15)
    for i, (value, series) in enumerate(groups.items()):
        # A series of points takes its own place among the categories, one without does not.
        offset = 0.34 * (i - (len(groups) - 1) / 2) if figure["points"] else 0
        x = np.array([positions[row[figure["x"]]] for row in series], float) + offset
        if figure["points"]:
            _draw_points(axes, figure, series, x + left, i)
            x += right
        color, style = i + (not figure["series"]), linestyle(i) if figure["line"] else "none"
        _error_bars(axes, series, x, color, style, _name(figure["series"], value))
    if figure["series"] and figure["line"]:
        axes.legend(loc="lower right")
    elif figure["series"]:
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.14), ncols=len(groups))


def _draw_points(
    axes: Axes, figure: Mapping[str, Any], rows: Sequence[Row], x: np.ndarray, number: int
) -> None:
    """Draw the AUCs of all folds and initializations, or the mean over folds of all
    initializations, with a box plot if there are many."""
    dots = {"markersize": 2.6, "color": line_color(number)}
    for row, position in zip(rows, x, strict=True):
        if figure["points"] == "folds":
            aucs = np.ravel(row["aucs"])
            dots |= {"alpha": 0.55, "markeredgewidth": 0}
            axes.plot(np.full(len(aucs), position), aucs, "o", **dots)
            continue
        aucs = np.mean(row["aucs"], axis=1)
        if len(aucs) >= MIN_FOR_BOX:
            axes.boxplot(
                aucs,
                positions=[position],
                widths=0.1 if figure["series"] else 0.24,
                showfliers=False,
                manage_ticks=False,
                **dict.fromkeys(("boxprops", "whiskerprops", "capprops"), THIN),
                medianprops={"color": INK},
            )
        spread = np.linspace(-0.05, 0.05, len(aucs)) if len(aucs) > 1 else np.zeros(1)
        axes.plot(position + spread, aucs, "o", alpha=0.6, **dots)


def _error_bars(
    axes: Axes, rows: Sequence[Row], x: np.ndarray, color: int, style: Any, name: str
) -> None:
    """Draw AUCs with their 95% intervals."""
    below = [row["auc"] - row["ci_low"] for row in rows]
    above = [row["ci_high"] - row["auc"] for row in rows]
    axes.errorbar(
        x,
        [row["auc"] for row in rows],
        (below, above),
        color=line_color(color),
        label=name,
        linestyle=style,
        marker="D",
        markersize=4,
        elinewidth=1.1,
        capsize=2,
    )


def _name(column: str | None, value: Any) -> str:
    """Return the value of a column as the report writes it."""
    if column == "study":
        return approach_name(value)
    return "none" if (column, value) == ("network", "C0") else str(value)


def _report_figure(name: str, svg: Any, rows: Sequence[Row]) -> ReportFigure:
    """Return the figure with its data: the rows, and their AUCs by initialization and fold."""
    n_aucs = max((np.size(row["aucs"]) for row in rows), default=0)
    columns = (*COLUMNS, *(f"auc_{i + 1}" for i in range(n_aucs)))
    data = []
    for row in rows:
        cells = [row["study"] if c == "approach" else row[c] for c in COLUMNS]
        data.append((*cells, *np.ravel(row["aucs"]).tolist()))
    return ReportFigure(name, svg, columns, data)
