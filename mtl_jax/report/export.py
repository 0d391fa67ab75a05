"""Write the figures of a report as SVG files and their data as CSV files."""

import os
from collections.abc import Iterable
from pathlib import Path

from mtl_jax.io import atomic
from mtl_jax.io.csv_safe import escape_row, format_csv
from mtl_jax.report.figure_style import ReportFigure, standalone


def export(figures: Iterable[ReportFigure], folder: Path) -> None:
    """Write NAME.svg and NAME.csv of each figure into `folder`, each file atomically."""
    atomic.make_folder(folder)
    for figure in figures:
        table = format_csv(figure.columns, map(escape_row, figure.rows))
        _write(folder / f"{figure.name}.csv", table)
        _write(folder / f"{figure.name}.svg", standalone(figure.svg))


def _write(path: Path, text: str) -> None:
    """Write atomically, but without fsync, since figures can be made again."""
    part = path.with_name(path.name + ".part")
    with atomic.report_write_errors(path):
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
