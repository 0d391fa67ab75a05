"""Draws how training went, epoch by epoch. Computes no number."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.ticker import MaxNLocator

from mtl_jax.report.drawing import STYLE, Drawn, line, linestyle, sheet, svg


def history_figure(
    approach: str,
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    tasks: Sequence[str],
    quantity: str,
) -> Drawn:
    """`quantity` (loss or accuracy) by epoch: a line a run, in the colour of its task."""
    rows = []
    with matplotlib.rc_context(STYLE):
        figure, axes = sheet(3.6, 2.5)
        for i, task in enumerate(tasks):
            for run, lines in histories.items():
                points = [(entry["epoch"], entry[f"{quantity}/{task}"]) for entry in lines]
                rows += [(run, task, *point) for point in points]
                axes.plot(
                    *zip(*points, strict=True),
                    color=line(i),
                    linestyle=linestyle(i),
                    linewidth=1.6 if len(histories) == 1 else 0.9,
                    marker="o" if len(points) == 1 else "",
                )
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if quantity == "loss":
            axes.set_ylim(bottom=0)
        else:
            axes.set_ylim(top=1.01)
        drawn = svg(figure, f"{approach.upper()}: training {quantity} by epoch")
    return Drawn(f"training-{approach}-{quantity}", drawn, ("run", "task", "epoch", quantity), rows)
