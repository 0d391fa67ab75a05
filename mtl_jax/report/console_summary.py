"""The few lines at the end of a job. Holds no judgement of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_jax.report import phrases, read_workdir, statements


def summary(folder: Path) -> str:
    """The primary analysis, AUCs, comparisons and warnings of a finished work folder, as text.

    InputError where the job has not finished.
    """
    work = read_workdir.read(folder)
    mixed = " (mixed versions)" if phrases.is_mixed(work) else ""
    lines = ["", statements.describe_main_result(work), ""]
    lines += [f"AUC, {work.results['target']}, 95 % intervals{mixed}"]
    lines += _table(work)
    lines += [_comparison(test, work.results["target"]) for test in work.results["comparisons"]]
    lines += [f"note: {warning}" for warning in phrases.warnings(work)]
    lines += [phrases.PHANTOM] if phrases.is_phantom(work) else []
    return "\n".join([*lines, "for research only, not for clinical use"])


def _comparison(test: Mapping[str, Any], target: str) -> str:
    kind = "primary" if test["primary"] else f"secondary{statements.selection_label(test)}"
    interval = (
        f"{phrases.format_signed(test['ci_low'])} to {phrases.format_signed(test['ci_high'])}"
    )
    a, b = (f"{test[side]}{_network(test, side)}" for side in ("a", "b"))
    on = "" if test["task"] == target else f", {test['task']}"
    few = f", {test['target_cases']} training cases" if test.get("target_cases") else ""
    holm, status = test["p_holm"], "" if test["status"] == "ok" else f", {test['status']}"
    adjusted = "" if holm is None else f" (Holm {phrases.format_p_value(holm)})"
    return (
        f"{kind}: {a} - {b}, {test['unit']} level{on}{few}, {test['estimator']}: "
        f"{phrases.format_signed(test['delta'])} ({interval}), "
        f"{phrases.format_p_value(test['p_value'])}{adjusted}, "
        f"{phrases.method_name(test['method'])}{status}"
    )


def _condition(area: Mapping[str, Any]) -> str:
    """The approach, and what else the rows of a table of means differ in."""
    few = area.get("target_cases")
    split = area.get("split")
    return " ".join(
        [
            area["study"],
            *([area["network"]] if "network" in area else []),
            *([f"split {split}"] if split else []),
            *([f"{few} training cases"] if few else []),
        ]
    )


def _network(test: Mapping[str, Any], side: str) -> str:
    """Named where the two differ in it."""
    differ = test.get("network_a") != test.get("network_b")
    return f" {test[f'network_{side}']}" if differ else ""


def _table(work: read_workdir.WorkFolder) -> list[str]:
    head = ("", "unit", "cases", "AUC", "interval", "malignant", "benign", "training AUC")
    rows = [head]
    for unit in ("view", "lesion"):
        for area in work.headline_aucs(unit) or work.mean_aucs(unit):
            fits = phrases.target_training_aucs(work, area["study"], area)
            rows.append(
                (
                    _condition(area),
                    unit,
                    area["cases"] + statements.selection_label(area),
                    phrases.format_number(area["auc"]),
                    phrases.format_interval(area),
                    str(area["n_malignant"]),
                    str(area["n_benign"]),
                    phrases.format_number(sum(fits) / len(fits)) if fits else "",
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
