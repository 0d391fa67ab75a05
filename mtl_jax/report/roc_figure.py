"""Draw fitted and empirical ROC curves with their confidence bands."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib

from mtl_jax.report import phrases
from mtl_jax.report.figure_style import (
    INK,
    STYLE,
    ReportFigure,
    line_color,
    linestyle,
    make_axes,
    to_svg,
    wrap,
)
from mtl_jax.report.roc_curves import GRID, Curve

MAX_MARKED = 60  # operating points up to which each is marked


def roc_figure(
    curves: Sequence[Curve],
    unit: str,
    tests: Sequence[Mapping[str, Any]],
    note: str = "",
    means: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> ReportFigure:
    """Draw the curves and confidence bands of all approaches, and list the differences in `tests`.

    The AUC in the legend is that of the fitted curve, or of the empirical curve if the fit may not
    be a headline; then only the empirical curve is drawn. `means` has the headline row by approach
    if it is a mean over folds or initializations, which replaces that AUC; `note` then describes
    the scores of the curves.
    """
    with matplotlib.rc_context(STYLE):
        comparison_lines = _comparison_lines(tests)
        texts = [_legend(curve, means.get(curve.approach), not means) for curve in curves]
        title = [*comparison_lines, *_heading(means, note)]
        n_lines = "\n".join([*texts, *title]).count("\n")
        figure, axes = make_axes(3.6, 3.6 + 0.18 * n_lines)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, alpha=0.5)
        for i, curve in enumerate(curves):
            band = {"color": line_color(i), "alpha": 0.16, "linewidth": 0}
            axes.fill_between(GRID, curve.low, curve.high, **band)
        for i, (curve, text) in enumerate(zip(curves, texts, strict=True)):
            color = line_color(i)
            marker = {"marker": "o", "markersize": 2.2} if len(curve.fpf) <= MAX_MARKED else {}
            if not curve.fitted:
                marker = marker | {"label": text}
            axes.plot(curve.fpf, curve.tpf, color=color, linewidth=0.7, alpha=0.65, **marker)
            if curve.fitted:
                style = linestyle(i)
                axes.plot(curve.fit_fpf, curve.fit_tpf, color=color, linestyle=style, label=text)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xlabel="false positive fraction", ylabel="true positive fraction")
        title_style = {"title": "\n".join(title), "title_fontsize": 8.5, "alignment": "left"}
        figure.legend(loc="outside lower left", **title_style)
        names = ", ".join(
            f"{phrases.approach_name(c.approach)} AUC {c.headline.auc:.3f}" for c in curves
        )
        svg = to_svg(figure, f"{unit.capitalize()}-level ROC curves: {names}")
    rows = []
    for curve in curves:
        for kind, x, y in (
            ("empirical", curve.fpf, curve.tpf),
            *([("proper binormal", curve.fit_fpf, curve.fit_tpf)] if curve.fitted else []),
            ("band, low", GRID, curve.low),
            ("band, high", GRID, curve.high),
        ):
            rows += [(curve.approach, kind, *map(float, point)) for point in zip(x, y, strict=True)]
    return ReportFigure(f"roc-{unit}", svg, ("approach", "curve", "fpf", "tpf"), rows)


def _heading(means: Mapping[str, Mapping[str, Any]], note: str) -> list[str]:
    """Return the lines that say which AUCs the legend has, and which scores the curves show."""
    if not means:
        return ["AUC of the fitted curve (95% CI):"]
    estimator = next(iter(means.values()))["estimator"]
    return [wrap(f"curves: {note}", 60), wrap(f"AUC (95% CI), {estimator}:", 60)]


def _legend(curve: Curve, mean: Mapping[str, Any] | None, tell_method: bool) -> str:
    """Return the approach, its AUC and the 95% interval; with `tell_method`, whether the AUC is
    empirical."""
    values = (curve.headline.auc, curve.headline.ci_low, curve.headline.ci_high)
    if mean:
        values = (mean["auc"], mean["ci_low"], mean["ci_high"])
    auc, low, high = map(phrases.format_number, values)
    method = ", empirical" if tell_method and not curve.fitted else ""
    return wrap(f"{phrases.approach_name(curve.approach)} {auc} ({low} to {high}){method}")


def _comparison_lines(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return difference and p-value of up to three pairs, each by its first method."""
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for test in tests:
        first.setdefault((test["a"], test["b"]), test)
    return [
        wrap(
            f"{phrases.approach_name(test['a'])} \N{MINUS SIGN} "
            f"{phrases.approach_name(test['b'])}: {phrases.format_signed(test['delta'])}, "
            f"{phrases.format_p_value(test['p_value'])} "
            f"({'primary' if test['primary'] else 'secondary'})"
        )
        for test in list(first.values())[:3]
    ]
