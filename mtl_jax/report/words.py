"""What the numbers say, in sentences that claim no more than they do. Computes no statistic."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl_jax.report.folder import Work

WEAK = 100  # lesions below which an area is called weak evidence
FITTED = 0.95  # training AUC below which a network is said not to have fitted
PHANTOM = "phantom results: simulated images, not evidence about patients"
METHODS = {
    "obuchowski": "Obuchowski 1997, clustered by patient",
    "bootstrap": "bootstrap over patients",
    "delong": "DeLong 1988, paired",
    "proper": "proper binormal",
    "empirical": "empirical",
}


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
    return next(run["tasks"] for run in work.results["runs"] if run["approach"] == approach)


def question(work: Work) -> str:
    target = work.results["target"]
    first, *others = work.approaches
    if not others:
        learned = listed(tasks_of(work, first))
        return (
            f"How well does a network that learns {learned} ({first.upper()}) tell malignant from "
            f"benign lesions of {target} that it has not seen?"
        )
    learns = [f"{listed(tasks_of(work, a))} ({a.upper()})" for a in work.approaches]
    return (
        f"Does a network that learns {learns[0]} tell malignant from benign lesions of {target} "
        f"better than one that learns {', or '.join(learns[1:])} alone?"
    )


def answer(work: Work) -> str:
    areas = {area["study"]: area for area in reversed(work.final_areas("lesion"))}
    if not areas:
        return "No area could be measured: the scored lesions are of one class."
    any_area = next(iter(areas.values()))
    where = "of the test set" if any_area["cases"] == "test" else "scored out of fold"
    n = any_area["n_malignant"] + any_area["n_benign"]
    lesions = (
        f"Over {n} lesions {where} ({any_area['n_malignant']} malignant, "
        f"{any_area['n_benign']} benign)"
    )
    values = [
        f"{number(areas[a]['auc'])} with {a.upper()} (95 % interval "
        f"{number(areas[a]['ci_low'])} to {number(areas[a]['ci_high'])})"
        for a in work.approaches
        if a in areas
    ]
    text = f"{lesions} the area under the ROC curve per lesion is {listed(values)}."
    tests = [c for c in work.results["comparisons"] if c["unit"] == "lesion"]
    if tests:
        return f"{text} {comparison(tests[0])}"
    chance = (
        "Chance, 0.5, lies inside the interval."
        if any_area["ci_low"] <= 0.5 <= any_area["ci_high"]
        else "The interval excludes chance, 0.5."
    )
    return f"{text} {chance}"


def comparison(test: Mapping[str, Any]) -> str:
    """One comparison in words: what was seen, and what the interval still allows."""
    a, b = test["a"].upper(), test["b"].upper()
    interval = f"{signed(test['ci_low'])} to {signed(test['ci_high'])}"
    seen = (
        f"{a} less {b} is {signed(test['delta'])} per {test['unit']} "
        f"(95 % interval {interval}, {p_value(test['p_value'])})"
    )
    if test["p_value"] >= 0.05:
        return f"{seen}: no difference is shown, and none as large as the interval is ruled out."
    better, worse = (a, b) if test["delta"] > 0 else (b, a)
    return (
        f"{seen}: on these cases {better} ranks better than {worse} by more than chance among "
        "patients explains; one training of each does not show that another would."
    )


def warnings(work: Work) -> list[str]:
    """What a reader must know before believing a number, the gravest first."""
    results = work.results
    found = [PHANTOM[0].upper() + PHANTOM[1:] + "."] if is_phantom(work) else []
    found += _weak(work)
    if not work.config["weights"]:
        found.append(
            "No pretrained weights were given: the first layer is an analytic filter bank, all "
            "other layers start at random. These are not ImageNet weights, and results with "
            "them do not stand for transfer learning from ImageNet."
        )
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
    for area in results["auc"]:
        if area.get("status", "ok") != "ok":
            found.append(
                f"{area['study'].upper()}, {area['task']}, {area['cases']}, per {area['unit']}: "
                f"the interval of this area is {area['status']}."
            )
    return found


def target_training_areas(work: Work, approach: str) -> list[float]:
    """The training AUC of the target in each run of an approach."""
    target = work.results["target"]
    fits = [r["train_auc"].get(target) for r in work.results["runs"] if r["approach"] == approach]
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
