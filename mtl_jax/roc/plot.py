"""Draws ROC curves into a file. Only this file needs matplotlib, and only when it is asked."""

from pathlib import Path

import numpy as np

from mtl_jax.roc.auc_intervals import AucInterval, may_headline
from mtl_jax.roc.empirical import Empirical
from mtl_jax.roc.proper import Proper


def draw_curves(
    path: Path, curves: list[tuple[str, Empirical, Proper, Proper | AucInterval]]
) -> None:
    """Write a figure of each reading's empirical points and proper curve, whose AUC has the given
    interval; the empirical AUC is named where the fit may be no headline. The suffix of `path`
    chooses the format. Raises ValueError where matplotlib or the format is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("--plot needs matplotlib, which is not installed") from None
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
