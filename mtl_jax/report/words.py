"""What the numbers say, in sentences that claim no more than they do. Computes no statistic."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax import patient_notes
from mtl_jax.config import OWN_WEIGHTS
from mtl_jax.report.folder import FINAL, Work

WEAK = 100  # lesions below which an area is called weak evidence
LEVEL = 0.05  # of significance
FITTED = 0.95  # training AUC below which a network is said not to have fitted
PHANTOM = "phantom results: simulated images, not evidence about patients"
NAMES = {"forest": "Forest"}
METHODS = {
    "obuchowski": "Obuchowski's method",
    "bootstrap": "bootstrap over patients",
    "delong": "DeLong's method",
    "proper": "proper binormal",
    "empirical": "empirical",
}


def method(name: str) -> str:
    return METHODS.get(name, name)


def approach(name: str) -> str:
    """'MTTL' of mttl, 'MTTL, heads=per_task' of mttl+heads=per_task."""
    kind, *options = name.split("+")
    return ", ".join([NAMES.get(kind, kind.upper()), *options])


def number(value: float) -> str:
    return f"{value:.3f}"


def signed(value: float) -> str:
    return f"{value:+.3f}"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def is_phantom(work: Work) -> bool:
    return any("simulated" in c["truth_source"] for c in work.results["collections"])


def tasks_of(work: Work, approach: str) -> list[str]:
    return next(run["tasks"] for run in work.runs if run["approach"] == approach)


def question(work: Work) -> str:
    target = work.results["target"]
    tested = [a for a in work.approaches if tasks_of(work, a)[0] == target]
    first, *others = tested or work.approaches
    last = work.results["stages"][-1]["stage"]
    if last == "splits":
        return f"Which random split into folds represents the cases of {target}?"
    if last == "depth":
        return f"How many convolutions should be frozen for {target}?"
    if last == "learning_curve":
        return f"How many cases of {target} does it take?"
    if not others:
        return (
            f"How well does a network that learns {_learns(work, first)} tell malignant from "
            f"benign lesions of {target} that it has not seen?"
        )
    learned, rivals = _learns(work, first), " or ".join(_learns(work, a) for a in others)
    return (
        f"Does a network that learns {learned} tell malignant from benign lesions of {target} "
        f"better than one that learns {rivals}?"
    )


def _learns(work: Work, approach: str) -> str:
    tasks = tasks_of(work, approach)
    how = "at once" if len(tasks) > 1 else "alone"
    return f"{listed(tasks)} {how} ({approach.upper()})"


def answer(work: Work) -> str:
    """The answer in one sentence: areas per lesion, and whether chance would do."""
    if not work.pooled:
        return _chosen(work)
    areas = {area["study"]: area for area in work.final_areas("lesion")}
    if not areas:
        return "No area could be measured: the scored lesions are of one class."
    found = next(iter(areas.values()))
    seen = (
        f"over {found['n_malignant'] + found['n_benign']} lesions "
        f"{'of the test set' if found['cases'] == 'test' else 'scored out of fold'} "
        f"({found['n_malignant']} malignant, {found['n_benign']} benign) the area under the ROC "
        "curve per lesion is "
        + listed([f"{number(area['auc'])} with {a.upper()}" for a, area in areas.items()])
    )
    tests = [group for group in by_difference(work) if group[0]["unit"] == "lesion"]
    if not tests:
        reach = "above" if found["ci_low"] > 0.5 else "not clearly apart from"
        interval = f"95 % interval {number(found['ci_low'])} to {number(found['ci_high'])}"
        return f"{seen[0].upper()}{seen[1:]} ({interval}), {reach} chance, which is 0.5."
    p = " or ".join(dict.fromkeys(p_value(test["p_value"]) for test in tests[0]))
    return {
        "alike": f"Not shown: {seen}, a difference that chance could give ({p}).",
        "edge": f"Undecided: {seen}, a difference on the edge of chance ({p} by method).",
        "better": f"On these cases yes: {seen}, a difference that chance seldom gives ({p}).",
        "worse": f"The reverse on these cases: {seen}, which chance seldom gives ({p}).",
    }[verdict(tests[0])]


def _chosen(work: Work) -> str:
    """What a job of splits, depth or a learning curve found."""
    for what, found in reversed(work.results["selection"].items()):
        row = next(r for r in found["table"] if r[what] == found["chosen"])
        return (
            f"{what.capitalize()} {found['chosen']}, with a mean area of {number(row['auc'])} per "
            f"{found['unit']}, by this rule: {found['rule']}."
        )
    return "See the learning curve below: the area by cases learned, with its intervals."


def verdict(tests: Sequence[Mapping[str, Any]]) -> str:
    """What several methods say of one difference, a less b: alike, edge, better or worse."""
    below = [test["p_value"] < LEVEL for test in tests]
    if all(below):
        return "better" if tests[0]["delta"] > 0 else "worse"
    return "edge" if any(below) else "alike"


def comparison(tests: Sequence[Mapping[str, Any]]) -> str:
    """One difference in words, by all methods that tested it: what was seen, what it allows."""
    first = tests[0]
    a, b = first["a"].upper(), first["b"].upper()
    seen = (
        f"The difference per {first['unit']}, {a} less {b}, is {signed(first['delta'])} (95 % "
        f"interval {signed(first['ci_low'])} to {signed(first['ci_high'])}, "
        f"{p_value(first['p_value'])})"
    )
    said = verdict(tests)
    if said == "alike":
        return (
            f"{seen}: these cases do not show that the two differ, nor that they are alike: "
            "they are compatible with every difference in the interval."
        )
    if said == "edge":
        found = listed([f"{p_value(t['p_value'])} by {method(t['method'])}" for t in tests])
        return f"{seen}: on the edge, for the methods fall on either side of {LEVEL} ({found})."
    better, worse = (a, b) if said == "better" else (b, a)
    return (
        f"{seen}: {better} ranks these cases better than {worse} does, by more than the choice of "
        "patients readily explains; that another training of each would do the same is not shown."
    )


def by_difference(work: Work) -> list[list[dict[str, Any]]]:
    """The comparisons on the target, those of one pair and unit together, per lesion first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for test in work.results["comparisons"]:
        if test["task"] == work.results["target"]:
            groups.setdefault((test["unit"], test["a"], test["b"]), []).append(test)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def own_weights(work: Work) -> bool:
    """Whether the networks started from nothing but what this package brings."""
    return work.config["weights"] in OWN_WEIGHTS


def warnings(work: Work) -> list[str]:
    """What a reader must know before using a number, beside PHANTOM: the gravest first."""
    results, found = work.results, _weak(work)
    if own_weights(work):
        found.append(
            f"The weights at the start are not those of ImageNet, and results with them do not "
            f"stand for transfer learning from ImageNet. {results['weights']['note']}"
        )
    alike = work.folds.get("alike", [])
    if alike:
        found.append(
            f"{len(alike)} pairs of regions of different cases look alike across the split, such as"
            f" {alike[0]['a']} and {alike[0]['b']}: if a film stands under two case ids, it was"
            " learned and tested (folds.json lists them)."
        )
    similar = work.folds.get("similar_ids", [])
    if similar:
        found.append(f"{patient_notes.similar_note(similar)}.")
    for collection in results["collections"]:
        doubtful = [t for t in collection["truth_source"] if t not in ("biopsy", "simulated")]
        if doubtful:
            found.append(
                f"The truth of {collection['name']} is in part or whole not by biopsy: "
                f"{', '.join(doubtful)}."
            )
    for approach in work.approaches:
        fits = target_training_areas(work, approach)
        if fits and min(fits) < FITTED:
            found.append(
                f"{approach.upper()} has not fitted its own training regions (training AUC "
                f"{number(min(fits))}): longer training may change its results."
            )
    odd: dict[tuple[str, str], list[str]] = {}
    for area in results["auc"]:
        # A single fold is small: what is odd there is in the table.
        if area.get("status", "ok") != "ok" and area["cases"] in FINAL:
            which = f"{area['study'].upper()}, {area['task']}, per {area['unit']}"
            odd.setdefault((method(area["method"]), area["status"]), []).append(which)
    for (name, status), which in odd.items():
        found.append(f"Status {status} (docs/roc.md) of the {name} area of {'; '.join(which)}.")
    return found


def target_training_areas(work: Work, approach: str) -> list[float]:
    """The training AUC of the target in each run of an approach."""
    target = work.results["target"]
    fits = [r["train_auc"].get(target) for r in work.runs if r["approach"] == approach]
    return [fit for fit in fits if fit is not None]


def _weak(work: Work) -> list[str]:
    areas = work.final_areas("lesion")
    n = min((area["n_malignant"] + area["n_benign"] for area in areas), default=WEAK)
    if n >= WEAK:
        return []
    intervals = listed(
        [
            f"{number(area['ci_low'])} to {number(area['ci_high'])} ({area['study'].upper()})"
            for area in areas
        ]
    )
    return [
        f"Weak evidence: {n} scored lesions. With so few, any area under the ROC curve is "
        f"uncertain; 95 % interval per lesion {intervals}."
    ]
