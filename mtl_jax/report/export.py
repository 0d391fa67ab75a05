"""Writes every figure as SVG and its data as CSV, for the user's own paper. Draws nothing."""

import os
from collections.abc import Iterable
from pathlib import Path

from mtl_jax.io.csv_safe import as_csv, harmless_row
from mtl_jax.report.figure_style import ReportFigure, standalone


def export(figures: Iterable[ReportFigure], folder: Path) -> None:
    """`folder`/NAME.svg and NAME.csv of each figure, each whole or not at all."""
    folder.mkdir(exist_ok=True)
    for figure in figures:
        table = as_csv(figure.columns, map(harmless_row, figure.rows))
        _write(folder / f"{figure.name}.csv", table)
        _write(folder / f"{figure.name}.svg", standalone(figure.svg))


def _write(path: Path, text: str) -> None:
    """Not waiting for the disk, as results do: figures are made again at any time."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, path)
