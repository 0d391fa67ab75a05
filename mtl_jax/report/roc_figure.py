"""Draws ROC curves: fitted, empirical, and their uncertainty. Computes no number."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib

from mtl_jax.report import phrases
from mtl_jax.report.figure_style import INK, STYLE, ReportFigure, line, linestyle, sheet, svg
from mtl_jax.report.roc_curves import GRID, Curve

FEW = 60  # operating points up to which each is marked


def roc_figure(
    curves: Sequence[Curve],
    unit: str,
    tests: Sequence[Mapping[str, Any]],
    note: str = "",
    means: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> ReportFigure:
    """The curves of all approaches over their bands, in a unit square; `tests` are comparisons of
    this unit, whose differences and p-values are written beside; `note` says which scores the
    curves are of. An AUC is that of the fitted curve, or, where the fit may not stand as the
    headline, of the empirical one, which then is the only one drawn. `means`: where the headline is
    a mean over folds or initializations, its row by approach, whose AUC is written instead."""
    with matplotlib.rc_context(STYLE):
        figure, axes = sheet(3.6, 3.6 + 0.18 * (len(curves) + len(_below(tests)) + bool(means)))
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, alpha=0.5)
        for i, curve in enumerate(curves):
            axes.fill_between(GRID, curve.low, curve.high, color=line(i), alpha=0.16, linewidth=0)
        for i, curve in enumerate(curves):
            marker = {"marker": "o", "markersize": 2.2} if len(curve.fpf) <= FEW else {}
            text = _legend(curve, means.get(curve.approach))
            if not curve.fitted:
                marker = marker | {"label": text if means else f"{text}, empirical"}
            axes.plot(curve.fpf, curve.tpf, color=line(i), linewidth=0.7, alpha=0.65, **marker)
            if curve.fitted:
                style = linestyle(i)
                axes.plot(curve.fit_fpf, curve.fit_tpf, color=line(i), linestyle=style, label=text)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="false positive fraction", ylabel="true positive fraction")
        mean = next((row["estimator"] for row in means.values()), "")
        headed = f"AUC, {mean}\n(curves: {note})" if mean else "AUC of the fitted curve"
        title = "\n".join([*_below(tests), f"{headed}:"])
        figure.legend(loc="outside lower left", title=title, title_fontsize=8.5, alignment="left")
        names = ", ".join(f"{c.approach.upper()} AUC {c.shown.auc:.3f}" for c in curves)
        drawn = svg(figure, f"ROC curves per {unit}: {names}")
    rows = []
    for curve in curves:
        for kind, x, y in (
            ("empirical", curve.fpf, curve.tpf),
            *([("proper binormal", curve.fit_fpf, curve.fit_tpf)] if curve.fitted else []),
            ("band, low", GRID, curve.low),
            ("band, high", GRID, curve.high),
        ):
            rows += [(curve.approach, kind, *map(float, point)) for point in zip(x, y, strict=True)]
    return ReportFigure(f"roc-{unit}", drawn, ("approach", "curve", "fpf", "tpf"), rows)


def _legend(curve: Curve, mean: Mapping[str, Any] | None) -> str:
    """The approach, its AUC and the 95% interval."""
    values = (curve.shown.auc, curve.shown.ci_low, curve.shown.ci_high)
    if mean:
        values = (mean["auc"], mean["ci_low"], mean["ci_high"])
    auc, low, high = map(phrases.format_number, values)
    return f"{curve.approach.upper()} {auc} ({low} to {high})"


def _below(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Difference and p of each pair, by the first method that tested it: the primary one first."""
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for test in tests:
        first.setdefault((test["a"], test["b"]), test)
    return [
        f"{test['a'].upper()} \N{MINUS SIGN} {test['b'].upper()}: "
        f"{phrases.format_signed(test['delta'])}, {phrases.format_p_value(test['p_value'])} "
        f"({'primary' if test['primary'] else 'secondary'})"
        for test in list(first.values())[:3]
    ]
