"""Draw ROC curves. matplotlib is imported only if a figure is requested."""

import os
from pathlib import Path

import numpy as np

from mtl_jax.roc.auc_intervals import AucInterval, may_headline
from mtl_jax.roc.empirical import Empirical
from mtl_jax.roc.proper import Proper


def check_figure(path: Path) -> None:
    """Raise ValueError, before the statistics, if `draw_curves` cannot write to `path`."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise ValueError("--plot needs matplotlib: pip install matplotlib") from None
    formats = sorted(FigureCanvasBase.filetypes)
    if path.suffix and path.suffix[1:].lower() not in formats:
        raise ValueError(
            f"--plot {path}: {path.suffix} is no format of figures; choose one of"
            f" {', '.join(formats)}"
        )
    if not path.parent.is_dir():
        raise ValueError(f"--plot {path}: there is no folder {path.parent}; make it")
    if path.is_dir():
        raise ValueError(f"--plot {path}: is a folder; name a file, such as {path / 'roc.svg'}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"--plot {path}: no write permission; name a file in another folder")


def draw_curves(
    path: Path, curves: list[tuple[str, Empirical, Proper, Proper | AucInterval]]
) -> None:
    """Write a figure of ROC curves, each given by (name, empirical, proper, AUC with its interval).

    The legend has the proper AUC, or the empirical one if `may_headline` is false. The suffix of
    `path` is the format. Raises ValueError if writing fails; `check_figure` finds the usual reasons
    before the statistics.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 5.0), layout="constrained")
    axes = figure.add_subplot(xlabel="False positive fraction", ylabel="True positive fraction")
    for i, (name, observed, fit, interval) in enumerate(curves):
        color = f"C{i}"
        axes.plot(observed.fpf, observed.tpf, color=color, alpha=0.4, linewidth=1.0)
        fpf, tpf = fit.curve(401)
        text = f"{name}: AUC {fit.auc:.3f} ({interval.ci_low:.3f} to {interval.ci_high:.3f})"
        if not may_headline(fit.status, observed.auc):
            text = f"{name}: empirical AUC {observed.auc:.3f} (fit: {fit.status})"
        axes.plot(np.asarray(fpf), np.asarray(tpf), color=color, linewidth=2.0, label=text)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle=":")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", frameon=False, title="Proper binormal (empirical: thin)")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: the figure cannot be written: {error}") from None
