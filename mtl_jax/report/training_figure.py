"""Draw the training curves: loss, accuracy and AUC by epoch."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mtl_jax.report.figure_style import (
    INK,
    STYLE,
    ReportFigure,
    line_color,
    linestyle,
    make_axes,
    to_svg,
)

VALIDATION, TRAINING = 0, 5  # numbers of the lines in the figure and its legend


def history_figure(
    approach: str,
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    tasks: Sequence[str],
    quantity: str,
) -> ReportFigure:
    """Draw `quantity` (loss or accuracy) by epoch, one line per run, coloured by task."""
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = make_axes(3.6, 2.5)
        for i, task in enumerate(tasks):
            for run, lines in histories.items():
                points = [(entry["epoch"], entry[f"{quantity}/{task}"]) for entry in lines]
                rows += [(run, task, *point) for point in points]
                axes.plot(
                    *zip(*points, strict=True),
                    color=line_color(i),
                    linestyle=linestyle(i),
                    linewidth=1.6 if len(histories) == 1 else 0.9,
                    marker="o" if len(points) == 1 else "",
                )
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(**{"bottom": 0} if quantity == "loss" else {"top": 1.01})
        svg = to_svg(figure, f"{approach.upper()}: training {quantity} by epoch")
    return ReportFigure(
        f"training-{approach}-{quantity}", svg, ("run", "task", "epoch", quantity), rows
    )


def validation_figures(
    name: str, label: str, histories: Mapping[str, Sequence[Mapping[str, float]]], target: str
) -> list[ReportFigure]:
    """Draw loss and AUC of the held-out fold by epoch; `name` is for files, `label` for readers.

    One line per run, and the mean of several runs; the training loss is drawn beside the loss.
    """
    figures = []
    for quantity, keys in (
        ("loss", {f"loss/{target}": TRAINING, "validation_loss": VALIDATION}),
        ("AUC", {"validation_auc": VALIDATION}),
    ):
        key = f"validation_{quantity.lower()}"
        with matplotlib.rc_context(STYLE | {"lines.scale_dashes": False}):
            figure, axes = make_axes(3.6, 2.5)
            for drawn_key, number in keys.items():
                # Only epochs with a validation are drawn.
                runs = [
                    {entry["epoch"]: entry[drawn_key] for entry in lines if key in entry}
                    for lines in histories.values()
                ]
                _lines(axes, runs, number)
            axes.set(xlabel="epoch", ylabel="loss" if quantity == "loss" else "view-level AUC")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.set_xlim(left=0)
            if quantity == "loss":
                axes.set_ylim(bottom=0)
            else:
                axes.axhline(0.5, color=INK, linewidth=0.6, alpha=0.5, dashes=(2, 2))
                axes.set_ylim(min(0.45, axes.get_ylim()[0]), 1.01)
            svg = to_svg(figure, f"{label}: {quantity} of the held-out fold by epoch")
        rows = [
            (run, entry["epoch"], *(entry[k] for k in keys))
            for run, lines in histories.items()
            for entry in lines
            if key in entry
        ]
        columns = ("run", "epoch", *(k.replace("/", " of ") for k in keys))
        figures.append(ReportFigure(f"validation-{name}-{quantity.lower()}", svg, columns, rows))
    return figures


def _lines(axes: Axes, runs: Sequence[Mapping[float, float]], number: int) -> None:
    """Draw each run, and the mean of several runs over their common epochs."""
    style = {"color": line_color(number), "linestyle": linestyle(number)}
    if len(runs) > 1:
        for points in runs:
            axes.plot(*zip(*points.items(), strict=True), linewidth=0.7, alpha=0.4, **style)
    shared = sorted(set.intersection(*map(set, runs)))
    mean = [np.mean([points[epoch] for points in runs]) for epoch in shared]
    axes.plot(shared, mean, linewidth=1.8, marker="o" if len(shared) == 1 else "", **style)
