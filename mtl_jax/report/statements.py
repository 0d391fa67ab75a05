"""What the AUCs and comparisons say, in sentences that claim no more. Computes no statistic."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.report.phrases import (
    format_number,
    format_p_value,
    format_signed,
    join_and,
    method_name,
)
from mtl_jax.report.read_workdir import SECONDARY, WorkFolder

LEVEL = 0.05  # of significance
UNTESTED = ("sparse", "undetermined")  # statuses of a difference whose variance is not known


def describe_main_result(work: WorkFolder) -> str:
    """The primary analysis in one sentence: unit, numbers of cases, AUCs, difference with its
    interval and the one p-value; then which sources of variance these hold."""
    if not work.compares_approaches:
        return _describe_selection(work)
    primary = work.primary
    unit = primary["unit"] if primary else work.folds["primary"]["unit"]
    aucs = {area["study"]: area for area in work.headline_aucs(unit)}
    if not aucs:
        return "No AUC could be measured: the scored lesions are of one class."
    if primary is None:
        return f"{_aucs_alone(work, unit, aucs)} {describe_variance(work)}"
    a, b = primary["a"], primary["b"]
    kind = " of the proper binormal fit" if primary["method"] == "proper" else ""
    declared_test = primary.get("declared_test")
    instead = (
        f" (declared fallback: a fit of the {method_name(declared_test)} test may not be a"
        " headline)"
        if declared_test
        else ""
    )
    found = (
        f"{_describe_auc(work, unit, kind, aucs[a])}: "
        f"{format_number(primary['auc_a'])} with {a.upper()} and "
        f"{format_number(primary['auc_b'])} with {b.upper()}; "
        f"{method_name(primary['method'])}{instead}: "
        f"{_format_difference(primary)}"
    )
    if primary["status"] != "ok":
        found += f", status {primary['status']} (docs/roc.md)"
    said = {
        "untested": "These cases do not allow a test",
        "alike": (
            "The difference is not statistically significant, which does not show that the two are "
            "alike"
        ),
        "better": f"{a.upper()} is better on these cases",
        "worse": f"{b.upper()} is better on these cases",
    }["untested" if primary["status"] in UNTESTED else verdict([primary])]
    return f"Primary analysis: {found}. {said}. {describe_variance(work)}"


def _format_difference(test: Mapping[str, Any]) -> str:
    return (
        f"difference {format_signed(test['delta'])} (95% CI {format_signed(test['ci_low'])} to "
        f"{format_signed(test['ci_high'])}), {format_p_value(test['p_value'])}"
    )


def _describe_auc(work: WorkFolder, unit: str, kind: str, area: Mapping[str, Any]) -> str:
    where = "on the test set" if area["cases"] == "test" else "in cross-validation"
    return (
        f"{unit}-level AUC{kind} {where} of {work.results['target']} ({area['n_malignant']} "
        f"malignant and {area['n_benign']} benign {unit}s of {area['n_cases']} patients)"
    )


def _aucs_alone(work: WorkFolder, unit: str, aucs: Mapping[str, Mapping[str, Any]]) -> str:
    """Where no comparison is primary."""
    first = next(iter(aucs.values()))
    listed_aucs = join_and(
        [
            f"{format_number(area['auc'])} (95% CI {format_number(area['ci_low'])} to "
            f"{format_number(area['ci_high'])}{selection_label(area)}) with {a.upper()}"
            for a, area in aucs.items()
        ]
    )
    why = work.folds["primary"]["reason"]
    reason = f" No comparison is primary: {why}." if why else ""
    what = _describe_auc(work, unit, "", first)
    return f"{what[0].upper()}{what[1:]}: {listed_aucs}.{reason}"


def describe_variance(work: WorkFolder) -> str:
    """Which variances the intervals hold."""
    count = work.initializations
    if count == 1:
        return (
            "Intervals and p-values hold the variance over patients only; another training, from "
            "other initial weights, would give other AUCs."
        )
    if count == 2:
        return (
            "Intervals hold the variance over patients only: with two initializations that between "
            "initializations cannot be estimated, and nothing is tested."
        )
    return (
        f"Means over {count} initializations; intervals and p-values hold the variance over "
        "patients and that between initializations."
    )


def describe_declaration(work: WorkFolder) -> str:
    """The analysis that was declared before training, for the methods section."""
    primary = work.primary
    if primary is None:
        return ""
    a, b = (primary[side].upper() for side in ("a", "b"))
    return (
        f" The primary analysis, declared before training, is the difference of {a} and {b} at the "
        f"{primary['unit']} level by {method_name(primary['method'])}; all other tests are "
        "secondary, their p-values adjusted by Holm within each family. The standard error of an "
        f"AUC holds the variance over {_primary_auc(work, primary)['se_method']}."
    )


def _primary_auc(work: WorkFolder, primary: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(a for a in work.headline_aucs(primary["unit"]) if a["study"] == primary["a"])


def selection_label(row: Mapping[str, Any]) -> str:
    """What is added to an AUC whose split or network was chosen by the same scores."""
    return ", selected, optimistic" if row.get("selected") else ""


def curve_scores(work: WorkFolder) -> str:
    """Which scores the ROC curves show, where the headline is a mean."""
    said = ["scores pooled over folds"] if any(r["fold"] is not None for r in work.runs) else []
    if work.initializations > 1:
        said.append(f"first of {work.initializations} initializations")
    return ", ".join(said)


def _describe_selection(work: WorkFolder) -> str:
    """What a job of splits, depth or a learning curve found."""
    for what, found in reversed(work.results["selection"].items()):
        row = next(r for r in found["table"] if r[what] == found["chosen"])
        return (
            f"{what.capitalize()} {found['chosen']}, mean {found['unit']}-level AUC "
            f"{format_number(row['auc'])} (selected, optimistic), by this rule: {found['rule']}. "
            "This study has no primary test."
        )
    return (
        "AUC by number of training cases of the target, with its intervals, is in the learning "
        "curve of the report. This study has no primary test."
    )


def verdict(tests: Sequence[Mapping[str, Any]]) -> str:
    """What several methods say of one difference, a - b: alike, edge, better or worse."""
    below = [test["p_value"] is not None and test["p_value"] < LEVEL for test in tests]
    if all(below):
        return "better" if tests[0]["delta"] > 0 else "worse"
    return "edge" if any(below) else "alike"


def describe_comparison(tests: Sequence[Mapping[str, Any]]) -> str:
    """One difference in words: the primary test, or all methods that tested it."""
    primary = [test for test in tests if test.get("primary")]
    first = (primary or tests)[0]
    a, b = first["a"].upper(), first["b"].upper()
    holm = first.get("p_holm")
    adjusted = "" if holm is None else f"; adjusted by Holm {format_p_value(holm)}"
    seen = (
        f"{'Primary' if primary else 'Secondary'}{selection_label(first)}: {first['unit']}-level "
        f"{a} \N{MINUS SIGN} {b}, {_format_difference(first)}{adjusted}"
    )
    said = verdict(primary or tests)
    if said == "alike":
        return (
            f"{seen}: these cases do not show that the two differ, nor that they are alike: "
            "they are compatible with every difference in the interval."
        )
    if said == "edge":
        found = join_and(
            [f"{format_p_value(t['p_value'])} by {method_name(t['method'])}" for t in tests]
        )
        return f"{seen}: on the edge, for the methods fall on either side of {LEVEL} ({found})."
    better, worse = (a, b) if said == "better" else (b, a)
    return f"{seen}: {better} ranks these cases better than {worse} does."


def group_comparisons(work: WorkFolder) -> list[list[dict[str, Any]]]:
    """The comparisons on the target by the estimator of the headline, those of one pair and unit
    together, lesion level first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for test in work.results["comparisons"]:
        if test["task"] == work.results["target"] and test["estimator"] not in SECONDARY:
            groups.setdefault((test["unit"], test["a"], test["b"]), []).append(test)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]
