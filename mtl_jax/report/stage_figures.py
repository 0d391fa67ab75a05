"""Draws what the stages before the last found: splits, depth, learning curve. Computes no mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from mtl_jax.report.figure_style import INK, STYLE, ReportFigure, line, linestyle, sheet, svg

COLUMNS = ("approach", "network", "split", "target_cases", "unit", "auc", "se", "ci_low", "ci_high")
BOX = 5  # initializations from which a box is drawn


def splits_figure(rows: Sequence[Mapping[str, Any]], chosen: int, unit: str) -> ReportFigure:
    """Each split's AUC in each fold and initialization, and their mean, by network."""
    rows = [row for row in rows if row["unit"] == unit]
    groups = _groups(rows, "network")
    with matplotlib.rc_context(STYLE):
        figure, axes = sheet(4.8, 2.9)
        axes.axvspan(chosen - 0.5, chosen + 0.5, color=INK, alpha=0.08, linewidth=0)
        for i, (name, own) in enumerate(groups.items()):
            offset = 0.34 * (i - (len(groups) - 1) / 2)
            for row in own:
                each = np.ravel(row["aucs"])
                axes.plot(
                    np.full(len(each), row["split"] + offset - 0.07),
                    each,
                    "o",
                    markersize=2.6,
                    color=line(i),
                    alpha=0.55,
                    markeredgewidth=0,
                )
            _errors(axes, i, [row["split"] + offset + 0.05 for row in own], own, name, "")
        axes.set(xlabel="split", ylabel=f"{unit}-level AUC")
        axes.set_xticks(sorted({row["split"] for row in rows}))
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.14), ncols=len(groups))
        drawn = svg(
            figure, f"{unit.capitalize()}-level AUC of each random split; split {chosen} selected"
        )
    return _drawn("splits", drawn, rows)


def depth_figure(rows: Sequence[Mapping[str, Any]], chosen: str, unit: str) -> ReportFigure:
    """The AUC by freeze depth: the mean over folds of each initialization, and the mean of all."""
    rows = [row for row in rows if row["unit"] == unit]
    with matplotlib.rc_context(STYLE):
        figure, axes = sheet(4.8, 2.9)
        names = list(dict.fromkeys(row["network"] for row in rows))
        at = names.index(chosen)
        axes.axvspan(at - 0.5, at + 0.5, color=INK, alpha=0.08, linewidth=0)
        for i, row in enumerate(rows):
            per_initialization = np.mean(row["aucs"], axis=1)
            if len(per_initialization) >= BOX:
                axes.boxplot(
                    per_initialization,
                    positions=[i - 0.18],
                    widths=0.24,
                    showfliers=False,
                    boxprops={"color": INK, "linewidth": 0.8},
                    medianprops={"color": INK},
                    whiskerprops={"color": INK, "linewidth": 0.8},
                    capprops={"color": INK, "linewidth": 0.8},
                )
            spread = (
                np.linspace(-0.05, 0.05, len(per_initialization))
                if len(per_initialization) > 1
                else [0]
            )
            axes.plot(
                i - 0.18 + np.array(spread),
                per_initialization,
                "o",
                markersize=2.6,
                color=line(0),
                alpha=0.6,
            )
        _errors(axes, 1, [i + 0.15 for i in range(len(rows))], rows, "", "")
        axes.set(xlabel="frozen convolutions", ylabel=f"{unit}-level AUC")
        axes.set_xticks(range(len(names)), ["none" if n == "C0" else n for n in names])
        axes.set_xlim(-0.6, len(names) - 0.4)
        drawn = svg(
            figure, f"{unit.capitalize()}-level AUC by frozen convolutions; {chosen} selected"
        )
    return _drawn("depth", drawn, rows)


def learning_curve_figure(rows: Sequence[Mapping[str, Any]], unit: str) -> ReportFigure:
    """The test-set AUC by the number of the target's training cases, by approach."""
    rows = [row for row in rows if row["unit"] == unit]
    with matplotlib.rc_context(STYLE):
        figure, axes = sheet(4.8, 2.9)
        for i, (name, own) in enumerate(_groups(rows, "study").items()):
            own = sorted(own, key=lambda row: row["target_cases"] or np.inf)
            _errors(axes, i, [row["target_cases"] for row in own], own, name.upper(), linestyle(i))
        axes.set(xlabel="training cases of the target", ylabel=f"{unit}-level AUC", xscale="log")
        ticks = sorted({row["target_cases"] for row in rows})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.legend(loc="lower right")
        drawn = svg(figure, f"{unit.capitalize()}-level AUC by training cases")
    return _drawn(f"learning-curve-{unit}", drawn, rows)


def _groups(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def _errors(
    axes: Axes,
    number: int,
    x: Sequence[float],
    rows: Sequence[Mapping[str, Any]],
    name: str,
    style: Any,
) -> None:
    """AUCs with their 95% intervals."""
    auc = [row["auc"] for row in rows]
    below = [row["auc"] - row["ci_low"] for row in rows]
    above = [row["ci_high"] - row["auc"] for row in rows]
    axes.errorbar(
        x,
        auc,
        (below, above),
        color=line(number),
        label=name,
        linestyle=style or "none",
        marker="D",
        markersize=4,
        elinewidth=1.1,
        capsize=2,
    )


def _drawn(name: str, svg_: Any, rows: Sequence[Mapping[str, Any]]) -> ReportFigure:
    """The data: a line a row of the table, then its AUCs by initialization and fold."""
    most = max((np.size(row["aucs"]) for row in rows), default=0)
    columns = (*COLUMNS, *(f"area_{i + 1}" for i in range(most)))
    lines = []
    for row in rows:
        head = [row["study"] if c == "approach" else row[c] for c in COLUMNS]
        lines.append((*head, *np.ravel(row["aucs"]).tolist()))
    return ReportFigure(name, svg_, columns, lines)
