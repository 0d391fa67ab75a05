"""Summarize the results as the text printed at the end of a job."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_jax.io.text_table import align
from mtl_jax.report import phrases, read_workdir, statements


def summary(folder: Path) -> str:
    """Return the primary analysis, AUCs, comparisons and warnings of a work folder as text."""
    work = read_workdir.read(folder)
    versions = " (mixed versions)" if phrases.is_mixed(work) else ""
    lines = ["", statements.describe_main_result(work), ""]
    lines += [f"AUC on {work.results['target']}, 95% CI{versions}"]
    lines += _table(work)
    lines += describe_comparisons(work)
    lines += [f"note: {warning}" for warning in phrases.warnings(work)]
    lines += [phrases.PHANTOM_NOTICE] if phrases.is_phantom(work) else []
    return "\n".join([*lines, "for research only, not for clinical use"])


def describe_comparisons(work: read_workdir.WorkFolder) -> list[str]:
    """Return a line for each comparison of the last stage."""
    return [_comparison(work, test) for test in work.results["comparisons"]]


def _comparison(work: read_workdir.WorkFolder, test: Mapping[str, Any]) -> str:
    kind = "primary" if test["primary"] else f"secondary{statements.selection_label(test)}"
    a, b = (f"{test[side]}{_network(test, side)}" for side in ("a", "b"))
    failed = statements.describe_failed_networks(work, test)
    collection = "" if test["task"] == work.results["target"] else f", {test['task']}"
    cases = f", {test['target_cases']} training cases" if test.get("target_cases") else ""
    holm, status = test["p_holm"], "" if test["status"] == "ok" else f", status {test['status']}"
    adjusted = "" if holm is None else f" (Holm-adjusted {phrases.format_p_value(holm)})"
    return (
        f"{kind}: {a} - {b}, {test['unit']} level{collection}{cases}, {test['estimator']}: "
        f"{phrases.format_signed(test['delta'])} ({phrases.format_signed_interval(test)}), "
        f"{phrases.format_p_value(test['p_value'])}{adjusted}, "
        f"{phrases.method_name(test['method'])}{status}{f'; {failed}' if failed else ''}"
    )


def _condition(row: Mapping[str, Any]) -> str:
    """Return the approach, network, split and number of training cases of a row."""
    cases, split = row.get("target_cases"), row.get("split")
    parts = [row["study"], row.get("network"), split and f"split {split}"]
    return " ".join(filter(None, [*parts, cases and f"{cases} training cases"]))


def _network(test: Mapping[str, Any], side: str) -> str:
    """Return the network of a side if the two sides differ in it, else ''."""
    differ = test.get("network_a") != test.get("network_b")
    return f" {test[f'network_{side}']}" if differ else ""


def _table(work: read_workdir.WorkFolder) -> list[str]:
    rows = [("", "unit", "cases", "AUC", "95% CI", "malignant", "benign", "training AUC")]
    for unit in ("view", "lesion"):
        for auc_row in work.headline_aucs(unit) or work.mean_aucs(unit):
            fits = phrases.target_training_aucs(work, auc_row["study"], auc_row)
            rows.append(
                (
                    _condition(auc_row),
                    unit,
                    auc_row["cases"] + statements.selection_label(auc_row),
                    phrases.format_number(auc_row["auc"]),
                    phrases.format_interval(auc_row),
                    str(auc_row["n_malignant"]),
                    str(auc_row["n_benign"]),
                    phrases.format_number(sum(fits) / len(fits)) if fits else "",
                )
            )
    return align(rows)
