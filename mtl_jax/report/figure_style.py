"""How every figure looks, inside the page and as a file of its own. Knows no figure.

A figure inside the page takes its colours from the page, which may be light, dark or paper.
"""

import io
import re
from typing import Any, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Drawn in these colours, then handed to the page: the text's own, and its --line-1, --line-2 ...
INK = "#010203"
LINES = tuple(f"#0{i}0b0c" for i in range(1, 7))
DASHES = ("", "5 2", "2 1.5", "7 2 2 2", "1 2", "9 3")
# The same colours in a file of its own, on white.
ON_WHITE = ("#0b5fa5", "#c2500a", "#117a5f", "#8b3fa0", "#8a6d00", "#4b5563")
DARK = "#1d2024"
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
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


class ReportFigure(NamedTuple):
    """A figure: the name of its files, its SVG inside the page, its data in rows under columns."""

    name: str
    svg: Markup
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def line(number: int) -> str:
    return LINES[number % len(LINES)]


def linestyle(number: int) -> str | tuple[int, tuple[float, ...]]:
    dashes = tuple(float(d) for d in DASHES[number % len(DASHES)].split())
    return (0, dashes) if dashes else "solid"


def sheet(width: float, height: float, **axes: Any) -> tuple[Figure, Axes]:
    """An empty figure of this size in inches, and its axes. To be called inside STYLE."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot(**axes)


def svg(figure: Figure, label: str) -> Markup:
    """The figure as an element to stand inside an HTML page, the same bytes each time."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    file = io.StringIO()
    # An id is a hash of this salt and what it names: no two figures of a page may share one.
    with matplotlib.rc_context({"svg.hashsalt": label}):
        FigureCanvasSVG(figure).print_svg(file)
    drawn = file.getvalue()
    box = re.search(r'viewBox="([^"]+)"', drawn).group(1)
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    # No metadata (it holds the date), no style (it would be the whole page's), no numbered groups.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    # Hundredths of a point are enough; numbers that are read, between the tags, stay as they are.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = body.replace(INK, "currentColor")
    for i, colour in enumerate(LINES):
        body = body.replace(colour, f"var(--line-{i + 1})")
    return element(label, box, Markup(body.strip()))


def element(label: str, box: str, body: Markup, kind: str = "plot") -> Markup:
    return Markup('<svg class="{}" role="img" aria-label="{}" viewBox="{}">{}</svg>').format(
        kind, label, box, body
    )


def standalone(drawn: Markup) -> str:
    """A figure of the page as an SVG file for a paper: on white, in its own colours."""
    box = re.search(r'viewBox="([^"]+)"', drawn).group(1)
    text = str(drawn).replace("currentColor", DARK)
    for i, colour in enumerate(ON_WHITE):
        text = text.replace(f"var(--line-{i + 1})", colour)
    left, top, width, height = box.split()
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif" '
        f'fill="{DARK}" '
    )
    begin = text.index(">") + 1
    paper = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#fff"/>'
    return head + text[len("<svg ") : begin] + paper + text[begin:] + "\n"


def key(number: int) -> Markup:
    """A short piece of the line of this number, for a legend in the page's own type."""
    return Markup(
        '<svg class="key" viewBox="0 0 28 8" aria-hidden="true">'
        '<path d="M0 4H28" fill="none" stroke="var(--line-{})" stroke-width="2.2" '
        'stroke-dasharray="{}"/></svg>'
    ).format(number % len(LINES) + 1, DASHES[number % len(DASHES)])
