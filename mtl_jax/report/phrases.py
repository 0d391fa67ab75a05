"""What the numbers say, in sentences that claim no more than they do. Computes no statistic."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mtl_jax import patient_notes
from mtl_jax.config import OWN_WEIGHTS
from mtl_jax.report.read_workdir import SECONDARY, WorkFolder

WEAK = 100  # lesions below which an AUC is called weak evidence
FEW = 50  # patients below which tests reject too many true nulls (docs/benchmarks.md)
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


def method_name(name: str) -> str:
    return METHODS.get(name, name)


def approach_name(name: str) -> str:
    """'MTTL' of mttl, 'MTTL, heads=per_task' of mttl+heads=per_task."""
    kind, *options = name.split("+")
    return ", ".join([NAMES.get(kind, kind.upper()), *options])


def format_number(value: float) -> str:
    return f"{value:.3f}"


def format_signed(value: float) -> str:
    return f"{value:+.3f}"


def format_interval(row: Mapping[str, Any]) -> str:
    """Return the interval of an AUC, such as '0.780 to 0.860'."""
    return f"{format_number(row['ci_low'])} to {format_number(row['ci_high'])}"


def format_signed_interval(row: Mapping[str, Any]) -> str:
    """Return the interval of a difference, such as '-0.020 to +0.100'."""
    return f"{format_signed(row['ci_low'])} to {format_signed(row['ci_high'])}"


def format_p_value(p: float | None) -> str:
    if p is None:
        return "not tested"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def join_and(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def is_phantom(work: WorkFolder) -> bool:
    return any("simulated" in c["truth_source"] for c in work.results["collections"])


def tasks_of(work: WorkFolder, approach: str) -> list[str]:
    return next(run["tasks"] for run in work.runs if run["approach"] == approach)


def question(work: WorkFolder) -> str:
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


def _learns(work: WorkFolder, approach: str) -> str:
    tasks = tasks_of(work, approach)
    how = "at once" if len(tasks) > 1 else "alone"
    return f"{join_and(tasks)} {how} ({approach.upper()})"


def uses_builtin_weights(work: WorkFolder) -> bool:
    """Whether the networks started from nothing but what this package brings."""
    return work.config["weights"] in OWN_WEIGHTS


def warnings(work: WorkFolder) -> list[str]:
    """What a reader must know before using a number, beside PHANTOM: the gravest first."""
    results, found = work.results, [*_mixed(work), *_weak(work), *_few_patients(work)]
    if uses_builtin_weights(work):
        found.append(
            f"The weights at the start are not those of ImageNet, and results with them do not "
            f"stand for transfer learning from ImageNet. {results['weights']['note']}"
        )
    alike = work.folds.get("alike", [])
    if alike:
        found.append(
            f"{len(alike)} pairs of ROIs of different cases look alike across the split, such as"
            f" {alike[0]['a']} and {alike[0]['b']}: if a film stands under two case ids, it was"
            " learned and tested (folds.json lists them)."
        )
    similar = work.folds.get("similar_ids", [])
    if similar:
        found.append(f"{patient_notes.similar_note(similar)}.")
    for name, public in work.folds.get("ids_look_like", {}).items():
        found.append(f"{name}: {patient_notes.form_note(public)}.")
    for collection in results["collections"]:
        doubtful = [t for t in collection["truth_source"] if t not in ("biopsy", "simulated")]
        if doubtful:
            found.append(
                f"The truth of {collection['name']} is in part or whole not by biopsy: "
                f"{', '.join(doubtful)}."
            )
    for approach in work.approaches:
        fits = target_training_aucs(work, approach)
        if fits and min(fits) < FITTED:
            found.append(
                f"{approach.upper()} has not fitted its own training ROIs (training AUC "
                f"{format_number(min(fits))}): longer training may change its results."
            )
    odd: dict[tuple[str, str], list[str]] = {}
    for area in results["auc"]:
        # A single fold is small: what is odd there is in the table.
        if (
            work.compares_approaches
            and area["status"] != "ok"
            and area["estimator"] not in SECONDARY
        ):
            which = f"{area['study'].upper()}, {area['task']}, {area['unit']} level"
            odd.setdefault((method_name(area["method"]), area["status"]), []).append(which)
    for (name, status), which in odd.items():
        shown = ", which is no headline" if name == METHODS["proper"] else ""
        found.append(
            f"Status {status} (docs/roc.md) of the {name} AUC{shown}, of {'; '.join(which)}."
        )
    return found


def target_training_aucs(
    work: WorkFolder, approach: str, like: Mapping[str, Any] = MappingProxyType({})
) -> list[float]:
    """The training AUC of the target in each run of an approach; of those alone whose network,
    split and number of training cases are those of `like`, as far as it has them."""
    target = work.results["target"]
    same = {name: like[name] for name in ("network", "split", "target_cases") if name in like}
    runs = [run for run in work.runs if run["approach"] == approach]
    fits = [
        run["train_auc"].get(target)
        for run in runs
        if all(run[name] == value for name, value in same.items())
    ]
    return [fit for fit in fits if fit is not None]


def is_mixed(work: WorkFolder) -> bool:
    """Whether its runs, or epochs of one of them, are of several versions or platforms."""
    return work.results.get("provenance", {}).get("mixed", False)


def _mixed(work: WorkFolder) -> list[str]:
    if not is_mixed(work):
        return []
    versions = work.results["provenance"]["versions"]
    names = [name for name in versions[0] if len({each.get(name) for each in versions}) > 1]
    each = [", ".join(f"{name} {version.get(name)}" for name in names) for version in versions]
    return [
        f"Mixed: these results are of {len(versions)} combinations of versions or platforms "
        f"({'; '.join(each)}), accepted by --accept_versions. Differences between runs may be "
        "differences between versions."
    ]


def _weak(work: WorkFolder) -> list[str]:
    aucs = work.headline_aucs("lesion")
    n = min((area["n_malignant"] + area["n_benign"] for area in aucs), default=WEAK)
    if n >= WEAK:
        return []
    intervals = join_and([f"{format_interval(row)} ({row['study'].upper()})" for row in aucs])
    return [
        f"Weak evidence: {n} scored lesions. With so few, any AUC is uncertain; 95 % interval at "
        f"the lesion level {intervals}."
    ]


def _few_patients(work: WorkFolder) -> list[str]:
    primary = work.primary
    if primary is None:
        return []
    patients = min(area["n_cases"] for area in work.headline_aucs(primary["unit"]))
    if patients >= FEW:
        return []
    return [
        f"The primary analysis scores {patients} patients. Below {FEW}, tests rejected up to 6.5 % "
        "of true nulls at the level of 5 % in our simulations, which begin at 34 patients."
    ]
