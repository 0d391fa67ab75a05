"""Describe AUCs and comparisons in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.report.phrases import (
    approach_name,
    format_interval,
    format_number,
    format_p_value,
    format_signed,
    format_signed_interval,
    join_and,
    method_name,
)
from mtl_jax.report.read_workdir import SECONDARY_ESTIMATORS, WorkFolder

ALPHA = 0.05  # significance level
UNTESTED = ("sparse", "undetermined")  # statuses of a difference with unknown variance
COLUMNS = {"study": "approach", "network": "frozen layers"}  # names of columns in sentences


def describe_main_result(work: WorkFolder) -> str:
    """Describe the primary analysis: unit, cases, AUCs, difference, interval and p-value.

    The last sentence states the sources of variance.
    """
    if not work.compares_approaches:
        return _describe_selection(work)
    primary = work.primary
    unit = primary["unit"] if primary else work.folds["primary"]["unit"]
    aucs = {row["study"]: row for row in work.headline_aucs(unit)}
    if not aucs:
        return "No AUC could be computed: all scored lesions are of one class."
    if primary is None:
        return f"{_aucs_alone(work, unit, aucs)} {describe_variance(work)}"
    a, b = primary["a"], primary["b"]
    fit = " of the proper binormal fit" if primary["method"] == "proper" else ""
    prespecified_test = primary.get("declared_test")
    fallback = (
        f" (prespecified fallback: the {method_name(prespecified_test)} fit is not valid as"
        " the primary result)"
        if prespecified_test
        else ""
    )
    text = (
        f"{_describe_auc(work, unit, fit, aucs[a])}: "
        f"{format_number(primary['auc_a'])} with {approach_name(a)} and "
        f"{format_number(primary['auc_b'])} with {approach_name(b)}; "
        f"{method_name(primary['method'])}{fallback}: "
        f"{_format_difference(primary)}"
    )
    if primary["status"] != "ok":
        text += f", status {primary['status']} (docs/roc.md)"
    conclusion = {
        "untested": "The variance could not be estimated, so no test was done",
        "inconclusive": (
            "The difference is not statistically significant, which does not show that the two are "
            "equal"
        ),
        "better": f"{approach_name(a)} has a significantly higher AUC on these cases",
        "worse": f"{approach_name(b)} has a significantly higher AUC on these cases",
    }["untested" if primary["status"] in UNTESTED else verdict([primary])]
    conclusion = describe_failed_networks(work, primary) or conclusion
    return f"Primary analysis: {text}. {conclusion}. {describe_variance(work)}"


def _format_difference(test: Mapping[str, Any]) -> str:
    return (
        f"difference {format_signed(test['delta'])} (95% CI {format_signed_interval(test)}), "
        f"{format_p_value(test['p_value'])}"
    )


def _describe_auc(work: WorkFolder, unit: str, fit: str, row: Mapping[str, Any]) -> str:
    evaluation = "on the test set" if row["cases"] == "test" else "in cross-validation"
    return (
        f"{unit}-level AUC{fit} {evaluation} of {work.results['target']} ({row['n_malignant']} "
        f"malignant and {row['n_benign']} benign {unit}s of {row['n_cases']} "
        f"{work.clusters([row['task']])})"
    )


def _aucs_alone(work: WorkFolder, unit: str, aucs: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe the AUCs of a study without a primary comparison."""
    first = next(iter(aucs.values()))
    listed_aucs = join_and(
        [
            f"{format_number(row['auc'])} (95% CI {format_interval(row)}{selection_label(row)}) "
            f"with {approach_name(a)}"
            for a, row in aucs.items()
        ]
    )
    reason = work.folds["primary"]["reason"]
    no_primary = f" No comparison is primary: {reason}." if reason else ""
    text = _describe_auc(work, unit, "", first)
    failed = list(filter(None, (_failed_networks(work, first["task"], a, {}) for a in aucs)))
    learned = f" {join_and(failed)} did not learn: this AUC is not meaningful." if failed else ""
    return f"{text[0].upper()}{text[1:]}: {listed_aucs}.{learned}{no_primary}"


def describe_variance(work: WorkFolder) -> str:
    """State the sources of variance in the intervals."""
    count, clusters = work.initializations, work.clusters()
    if count == 1:
        return (
            f"Intervals and p-values include the variance between {clusters} only; the variance "
            "between random initializations is not included."
        )
    if count == 2:
        return (
            f"Intervals include the variance between {clusters} only: with two initializations the "
            "variance between initializations cannot be estimated, and no difference is tested."
        )
    return (
        f"Means over {count} initializations; intervals and p-values include the variance between "
        f"{clusters} and between initializations."
    )


def describe_declaration(work: WorkFolder) -> str:
    """Describe the primary analysis for the methods section."""
    primary = work.primary
    if primary is None:
        return ""
    a, b = (approach_name(primary[side]) for side in ("a", "b"))
    target = work.results["target"]
    rows = work.headline_aucs(primary["unit"])
    auc_row = next(row for row in rows if row["study"] == primary["a"])
    return (
        f" The primary analysis, specified before training, is the difference between {a} and {b} "
        f"at the {primary['unit']} level by {method_name(primary['method'])}; all other tests are "
        "secondary, their p-values adjusted by Holm within each family. The standard error of an "
        f"AUC includes the variance over {work.name_clusters(auc_row['se_method'], [target])}."
    )


def selection_label(row: Mapping[str, Any]) -> str:
    """Return the label of an AUC whose split or network was selected with the same scores."""
    return ", optimistically biased by selection" if row.get("selected") else ""


def curve_scores(work: WorkFolder) -> str:
    """Describe the scores of the ROC curves if the primary AUC is a mean, else return ''."""
    has_folds = any(run["fold"] is not None for run in work.runs)
    texts = ["scores pooled over folds"] if has_folds else []
    if work.initializations > 1:
        texts.append(f"first of {work.initializations} initializations")
    return ", ".join(texts)


def _describe_selection(work: WorkFolder) -> str:
    """Describe the result of a study that ends with a table of conditions."""
    if work.last_stage["answer"]:
        return f"{work.last_stage['answer']} This study has no primary test."
    field, selection = list(work.results["selection"].items())[-1]
    row = next(r for r in selection["table"] if r[field] == selection["chosen"])
    return (
        f"{field.capitalize()} {selection['chosen']}, mean {selection['unit']}-level AUC "
        f"{format_number(row['auc'])} (optimistically biased: selected on the same scores), "
        f"by this rule: {selection['rule']}. This study has no primary test."
    )


def describe_stage_figure(work: WorkFolder, stage: Mapping[str, Any], units: Sequence[str]) -> str:
    """Describe the marks of the figure of a stage, the selected condition and the cases."""
    figure, rows = stage["figure"], work.results[stage["stage"]]
    folds = len(rows[0]["aucs"][0])
    dots = {
        None: "mean AUC and its 95% interval",
        "folds": "AUC of each fold and initialization (dots), mean and 95% interval (diamonds)",
        "initializations": (
            f"AUC of each initialization{f', its mean over {folds} folds' if folds > 1 else ''} "
            "(dots, with a box plot for five or more initializations), mean of all and its 95% "
            "interval (diamonds)"
        ),
    }[figure["points"]]
    series = f", by {COLUMNS.get(figure['series'], figure['series'])}" if figure["series"] else ""
    selection = work.results["selection"].get(figure["x"])
    shaded = (
        f" Shaded: {figure['x']} {selection['chosen']}, selected by this rule: "
        f"{selection['rule']}; its AUC is optimistic."
        if selection
        else ""
    )
    first_rows = [next(row for row in rows if row["unit"] == unit) for unit in units]
    counts = [
        f"{row['n_malignant']} malignant and {row['n_benign']} benign {row['unit']}s"
        for row in first_rows
    ]
    cases = max(row["n_cases"] for row in first_rows)
    note = f" {stage['note']}" if stage["note"] else ""
    unit = f"{units[0]}-level " if len(units) == 1 else ""
    n = f"n: {join_and(counts)} of {cases} {work.clusters([work.results['target']])}."
    return f"{unit}{dots}{series}.{shaded}{note} {n}"


def verdict(tests: Sequence[Mapping[str, Any]]) -> str:
    """Return 'better' or 'worse' if all tests of one difference a - b are significant.

    It is 'contradictory' if some are significant, and 'inconclusive' if none is. The p-value of a
    test is the Holm-adjusted one where there is one.
    """
    p_values = [_adjusted_p_value(test) for test in tests]
    significant = [p_value is not None and p_value < ALPHA for p_value in p_values]
    if all(significant):
        return "better" if tests[0]["delta"] > 0 else "worse"
    return "contradictory" if any(significant) else "inconclusive"


def _adjusted_p_value(test: Mapping[str, Any]) -> float | None:
    adjusted = test.get("p_holm")
    return test["p_value"] if adjusted is None else adjusted


def describe_failed_networks(work: WorkFolder, test: Mapping[str, Any]) -> str:
    """Return why a difference is not meaningful: networks of either side that did not learn the
    collection, or ''."""
    common = {"target_cases": test["target_cases"]} if test.get("target_cases") else {}
    texts = []
    for side in ("a", "b"):
        network = test.get(f"network_{side}")
        condition = common | ({"network": network} if network else {})
        texts.append(_failed_networks(work, test["task"], test[side], condition))
    if not any(texts):
        return ""
    return f"{join_and(list(filter(None, texts)))} did not learn: the difference is not meaningful"


def _failed_networks(
    work: WorkFolder, task: str, approach: str, condition: Mapping[str, Any]
) -> str:
    """Return '2 of 4 networks of STTL' if so many runs of a condition did not learn, else ''."""
    condition = {"approach": approach, **condition}
    runs = [run["id"] for run in work.runs if condition.items() <= run.items()]
    entries = work.results.get("equal_scores", [])
    failed = {entry["run"] for entry in entries if entry["collection"] == task}.intersection(runs)
    if not failed:
        return ""
    return f"{len(failed)} of {len(runs)} networks of {approach_name(approach)}"


def describe_comparison(tests: Sequence[Mapping[str, Any]], failed: str = "") -> str:
    """Describe one difference by its primary test, or by all methods that tested it.

    `failed` tells why it is not meaningful (`describe_failed_networks`), in place of a conclusion.
    """
    primary = [test for test in tests if test.get("primary")]
    first = (primary or tests)[0]
    a, b = approach_name(first["a"]), approach_name(first["b"])
    holm = first.get("p_holm")
    adjusted = "" if holm is None else f"; Holm-adjusted {format_p_value(holm)}"
    text = (
        f"{'Primary' if primary else 'Secondary'}{selection_label(first)}: {first['unit']}-level "
        f"{a} \N{MINUS SIGN} {b}, {_format_difference(first)}{adjusted}"
    )
    result = verdict(primary or tests)
    if failed:
        return f"{text}: {failed}."
    if result == "inconclusive":
        return (
            f"{text}: the difference is not significant; the data are compatible with every "
            "difference in the interval."
        )
    if result == "contradictory":
        p_values = join_and(
            [f"{format_p_value(_adjusted_p_value(t))} by {method_name(t['method'])}" for t in tests]
        )
        return f"{text}: the methods disagree about significance at {ALPHA} ({p_values})."
    better, worse = (a, b) if result == "better" else (b, a)
    return f"{text}: {better} has a significantly higher AUC than {worse} on these cases."


def group_comparisons(work: WorkFolder) -> list[list[dict[str, Any]]]:
    """Group the main comparisons on the target by unit and pair, lesion level first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for test in work.results["comparisons"]:
        if test["task"] == work.results["target"] and test["estimator"] not in SECONDARY_ESTIMATORS:
            groups.setdefault((test["unit"], test["a"], test["b"]), []).append(test)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]
