"""Style figures for the report page and for separate SVG files.

A figure in the page uses the colours of the page, which may be light, dark or for print.
"""

import io
import re
import textwrap
from typing import Any, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Matplotlib draws in these colours, which are then replaced by currentColor, --line-1, --line-2 ...
INK = "#010203"
LINE_COLORS = tuple(f"#0{i}0b0c" for i in range(1, 7))
DASHES = ("", "5 2", "2 1.5", "7 2 2 2", "1 2", "9 3")
# The colours of a separate SVG file, on white.
PRINT_COLORS = ("#0b5fa5", "#c2500a", "#117a5f", "#8b3fa0", "#8a6d00", "#4b5563")
PRINT_INK = "#1d2024"
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
    """A figure: name of its files, SVG for the page, and columns and rows of its data."""

    name: str
    svg: Markup
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def line_color(number: int) -> str:
    """Return the colour of a line."""
    return LINE_COLORS[number % len(LINE_COLORS)]


def linestyle(number: int) -> str | tuple[int, tuple[float, ...]]:
    """Return the dash pattern of a line, as Matplotlib takes it."""
    dashes = tuple(float(d) for d in DASHES[number % len(DASHES)].split())
    return (0, dashes) if dashes else "solid"


def wrap(text: str, width: int = 44) -> str:
    """Return a text of a figure in lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width, subsequent_indent="  "))


def make_axes(width: float, height: float, **axes: Any) -> tuple[Figure, Axes]:
    """Return an empty figure of this size in inches and its axes, for use within STYLE."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot(**axes)


def to_svg(figure: Figure, label: str) -> Markup:
    """Return a figure as an SVG element for an HTML page, with reproducible bytes."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    file = io.StringIO()
    # Ids are hashes with this salt, so that the figures of a page do not share ids.
    with matplotlib.rc_context({"svg.hashsalt": label}):
        FigureCanvasSVG(figure).print_svg(file)
    text = file.getvalue()
    box = re.search(r'viewBox="([^"]+)"', text).group(1)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    # Remove metadata (contains the date), style (would apply to the whole page) and group ids.
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    # Round coordinates to hundredths of a point; text between tags is not changed.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = body.replace(INK, "currentColor")
    for i, colour in enumerate(LINE_COLORS):
        body = body.replace(colour, f"var(--line-{i + 1})")
    return svg_element(label, box, Markup(body.strip()))


def svg_element(label: str, box: str, body: Markup, kind: str = "plot") -> Markup:
    """Return an SVG element with an accessible label."""
    return Markup('<svg class="{}" role="img" aria-label="{}" viewBox="{}">{}</svg>').format(
        kind, label, box, body
    )


def standalone(svg: Markup) -> str:
    """Return a figure of the page as an SVG file with a white background."""
    box = re.search(r'viewBox="([^"]+)"', svg).group(1)
    text = str(svg).replace("currentColor", PRINT_INK)
    for i, colour in enumerate(PRINT_COLORS):
        text = text.replace(f"var(--line-{i + 1})", colour)
    left, top, width, height = box.split()
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif" '
        f'fill="{PRINT_INK}" '
    )
    begin = text.index(">") + 1
    background = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#fff"/>'
    return head + text[len("<svg ") : begin] + background + text[begin:] + "\n"


def legend_key(number: int) -> Markup:
    """Return a sample of a line for a legend in HTML."""
    return Markup(
        '<svg class="key" viewBox="0 0 28 8" aria-hidden="true">'
        '<path d="M0 4H28" fill="none" stroke="var(--line-{})" stroke-width="2.2" '
        'stroke-dasharray="{}"/></svg>'
    ).format(number % len(LINE_COLORS) + 1, DASHES[number % len(DASHES)])
