"""Draw the figures of the stages splits, depth and learning curve."""

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

COLUMNS = ("approach", "network", "split", "target_cases", "unit", "auc", "se", "ci_low", "ci_high")
MIN_FOR_BOX = 5  # initializations from which a box plot is drawn


def splits_figure(rows: Sequence[Mapping[str, Any]], chosen: int, unit: str) -> ReportFigure:
    """Draw the AUC of each split in each fold and initialization, and the mean, by network."""
    rows = [row for row in rows if row["unit"] == unit]
    groups = _groups(rows, "network")
    with matplotlib.rc_context(STYLE):
        figure, axes = make_axes(4.8, 2.9)
        axes.axvspan(chosen - 0.5, chosen + 0.5, color=INK, alpha=0.08, linewidth=0)
        for i, (name, network_rows) in enumerate(groups.items()):
            offset = 0.34 * (i - (len(groups) - 1) / 2)
            for row in network_rows:
                aucs = np.ravel(row["aucs"])
                axes.plot(
                    np.full(len(aucs), row["split"] + offset - 0.07),
                    aucs,
                    "o",
                    markersize=2.6,
                    color=line_color(i),
                    alpha=0.55,
                    markeredgewidth=0,
                )
            x = [row["split"] + offset + 0.05 for row in network_rows]
            _error_bars(axes, i, x, network_rows, name, "")
        axes.set(xlabel="split", ylabel=f"{unit}-level AUC")
        axes.set_xticks(sorted({row["split"] for row in rows}))
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.14), ncols=len(groups))
        svg = to_svg(
            figure, f"{unit.capitalize()}-level AUC of each random split; split {chosen} selected"
        )
    return _report_figure("splits", svg, rows)


def depth_figure(rows: Sequence[Mapping[str, Any]], chosen: str, unit: str) -> ReportFigure:
    """Draw the AUC by freeze depth: the mean over folds per initialization, and the mean of all."""
    rows = [row for row in rows if row["unit"] == unit]
    with matplotlib.rc_context(STYLE):
        figure, axes = make_axes(4.8, 2.9)
        names = list(dict.fromkeys(row["network"] for row in rows))
        x_chosen = names.index(chosen)
        axes.axvspan(x_chosen - 0.5, x_chosen + 0.5, color=INK, alpha=0.08, linewidth=0)
        for i, row in enumerate(rows):
            per_initialization = np.mean(row["aucs"], axis=1)
            if len(per_initialization) >= MIN_FOR_BOX:
                thin = {"color": INK, "linewidth": 0.8}
                axes.boxplot(
                    per_initialization,
                    positions=[i - 0.18],
                    widths=0.24,
                    showfliers=False,
                    **dict.fromkeys(("boxprops", "whiskerprops", "capprops"), thin),
                    medianprops={"color": INK},
                )
            count = len(per_initialization)
            spread = np.linspace(-0.05, 0.05, count) if count > 1 else np.zeros(1)
            axes.plot(
                i - 0.18 + spread,
                per_initialization,
                "o",
                markersize=2.6,
                color=line_color(0),
                alpha=0.6,
            )
        _error_bars(axes, 1, [i + 0.15 for i in range(len(rows))], rows, "", "")
        axes.set(xlabel="frozen layers", ylabel=f"{unit}-level AUC")
        axes.set_xticks(range(len(names)), ["none" if n == "C0" else n for n in names])
        axes.set_xlim(-0.6, len(names) - 0.4)
        svg = to_svg(figure, f"{unit.capitalize()}-level AUC by frozen layers; {chosen} selected")
    return _report_figure("depth", svg, rows)


def learning_curve_figure(rows: Sequence[Mapping[str, Any]], unit: str) -> ReportFigure:
    """Draw the test-set AUC by number of training cases of the target, for each approach."""
    rows = [row for row in rows if row["unit"] == unit]
    with matplotlib.rc_context(STYLE):
        figure, axes = make_axes(4.8, 2.9)
        for i, (name, study_rows) in enumerate(_groups(rows, "study").items()):
            study_rows = sorted(study_rows, key=lambda row: row["target_cases"] or np.inf)
            x = [row["target_cases"] for row in study_rows]
            _error_bars(axes, i, x, study_rows, approach_name(name), linestyle(i))
        axes.set(xlabel="training cases of the target", ylabel=f"{unit}-level AUC", xscale="log")
        ticks = sorted({row["target_cases"] for row in rows})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.legend(loc="lower right")
        svg = to_svg(figure, f"{unit.capitalize()}-level AUC by training cases")
    return _report_figure(f"learning-curve-{unit}", svg, rows)


def _groups(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def _error_bars(
    axes: Axes,
    number: int,
    x: Sequence[float],
    rows: Sequence[Mapping[str, Any]],
    name: str,
    style: Any,
) -> None:
    """Draw AUCs with their 95% intervals."""
    below = [row["auc"] - row["ci_low"] for row in rows]
    above = [row["ci_high"] - row["auc"] for row in rows]
    axes.errorbar(
        x,
        [row["auc"] for row in rows],
        (below, above),
        color=line_color(number),
        label=name,
        linestyle=style or "none",
        marker="D",
        markersize=4,
        elinewidth=1.1,
        capsize=2,
    )


def _report_figure(name: str, svg: Any, rows: Sequence[Mapping[str, Any]]) -> ReportFigure:
    """Return the figure with its data: the rows, and their AUCs by initialization and fold."""
    n_aucs = max((np.size(row["aucs"]) for row in rows), default=0)
    columns = (*COLUMNS, *(f"auc_{i + 1}" for i in range(n_aucs)))
    data = []
    for row in rows:
        cells = [row["study"] if c == "approach" else row[c] for c in COLUMNS]
        data.append((*cells, *np.ravel(row["aucs"]).tolist()))
    return ReportFigure(name, svg, columns, data)
