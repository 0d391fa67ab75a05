"""Draws curves as SVG that takes its colours from the page around it. Computes no number."""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mtl_jax.report.curves import GRID, Curve

# Drawn in these colours, then handed to the page: the text's own, and its --line-1, --line-2 ...
INK = "#010203"
LINES = tuple(f"#0{i}0b0c" for i in range(1, 7))
DASHES = ("", "5 2", "2 1.5", "7 2 2 2", "1 2", "9 3")
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "figure.facecolor": "none",
    "savefig.facecolor": "auto",
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.6,
}


def roc_figure(curves: Sequence[Curve], unit: str) -> Markup:
    """The curves of all approaches over their bands, in a unit square."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 3.5), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, alpha=0.5)
        for i, curve in enumerate(curves):
            axes.fill_between(GRID, curve.low, curve.high, color=_line(i), alpha=0.16, linewidth=0)
        for i, curve in enumerate(curves):
            axes.plot(curve.fpf, curve.tpf, color=_line(i), linestyle=_linestyle(i))
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="false positive fraction", ylabel="true positive fraction")
        names = ", ".join(f"{c.approach.upper()} AUC {c.auc:.3f}" for c in curves)
        return _finish(figure, axes, f"ROC curves per {unit}: {names}")


def history_figure(
    approach: str,
    histories: Sequence[Sequence[Mapping[str, float]]],
    tasks: Sequence[str],
    quantity: str,
) -> Markup:
    """`quantity` (loss or accuracy) by epoch: a line a run, in the colour of its task."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6, 2.5), layout="constrained")
        axes = figure.add_subplot()
        for i, task in enumerate(tasks):
            for lines in histories:
                points = [(line["epoch"], line[f"{quantity}/{task}"]) for line in lines]
                axes.plot(
                    *zip(*points, strict=True),
                    color=_line(i),
                    linestyle=_linestyle(i),
                    linewidth=1.6 if len(histories) == 1 else 0.9,
                    marker="o" if len(points) == 1 else "",
                )
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if quantity == "loss":
            axes.set_ylim(bottom=0)
        else:
            axes.set_ylim(top=1.01)
        return _finish(figure, axes, f"{approach.upper()}: training {quantity} by epoch")


def key(number: int) -> Markup:
    """A short piece of the line of this number, for a legend in the page's own type."""
    return Markup(
        '<svg class="key" viewBox="0 0 28 8" aria-hidden="true">'
        '<path d="M0 4H28" fill="none" stroke="var(--line-{})" stroke-width="2.2" '
        'stroke-dasharray="{}"/></svg>'
    ).format(number % len(LINES) + 1, DASHES[number % len(DASHES)])


def _line(number: int) -> str:
    return LINES[number % len(LINES)]


def _linestyle(number: int) -> str | tuple[int, tuple[float, ...]]:
    dashes = tuple(float(d) for d in DASHES[number % len(DASHES)].split())
    return (0, dashes) if dashes else "solid"


def _finish(figure: Figure, axes: Axes, label: str) -> Markup:
    """The figure as an element to stand inside an HTML page, the same bytes each time."""
    axes.spines[["top", "right"]].set_visible(False)
    file = io.StringIO()
    # An id is a hash of this salt and what it names: no two figures of a page may share one.
    with matplotlib.rc_context({"svg.hashsalt": label}):
        FigureCanvasSVG(figure).print_svg(file)
    drawn = file.getvalue()
    box = re.search(r'viewBox="([^"]+)"', drawn).group(1)
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    # No metadata (it holds the date), no style (it would be the whole page's), no numbered groups.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"(\d\.\d\d)\d+", r"\1", body)  # hundredths of a point
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = body.replace(INK, "currentColor")
    for i, colour in enumerate(LINES):
        body = body.replace(colour, f"var(--line-{i + 1})")
    head = Markup('<svg class="plot" role="img" aria-label="{}" viewBox="{}">').format(label, box)
    return head + Markup(body.strip())
