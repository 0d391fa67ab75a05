"""Format numbers and names, and word the question and the warnings of a report."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mtl_jax import patient_notes
from mtl_jax.report.networks import list_starts
from mtl_jax.report.read_workdir import SECONDARY_ESTIMATORS, WorkFolder
from mtl_jax.types import GROUPS

MIN_LESIONS = 100  # below this an AUC is weak evidence
MIN_PATIENTS = 50  # below this the type I error rate is above 5% (docs/benchmarks.md)
MIN_TRAINING_AUC = 0.95  # below this the network may be underfitted
PHANTOM_NOTICE = "phantom results: simulated images, not evidence about patients"
NAMES = {"forest": "Forest"}
METHODS = {
    "obuchowski": "Obuchowski's method",
    "bootstrap": "bootstrap over cases",
    "delong": "DeLong's method",
    "proper": "proper binormal",
    "empirical": "empirical",
}


def method_name(name: str) -> str:
    """Return the full name of a statistical method."""
    return METHODS.get(name, name)


def approach_name(name: str) -> str:
    """Return 'MTTL' for mttl, and 'MTTL (heads=per_task)' for mttl+heads=per_task."""
    kind, *options = name.split("+")
    return NAMES.get(kind, kind.upper()) + (f" ({', '.join(options)})" if options else "")


def format_number(value: float) -> str:
    """Return a number with three decimals."""
    return f"{value:.3f}"


def format_signed(value: float) -> str:
    """Return a number with its sign and three decimals."""
    return f"{value:+.3f}"


def format_interval(row: Mapping[str, Any]) -> str:
    """Return the interval of an AUC, such as '0.780 to 0.860'."""
    return f"{format_number(row['ci_low'])} to {format_number(row['ci_high'])}"


def format_signed_interval(row: Mapping[str, Any]) -> str:
    """Return the interval of a difference, such as '-0.020 to +0.100'."""
    return f"{format_signed(row['ci_low'])} to {format_signed(row['ci_high'])}"


def format_p_value(p: float | None) -> str:
    """Return 'p = 0.012', 'p < 0.001' or 'not tested'."""
    if p is None:
        return "not tested"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def join_and(names: Sequence[str]) -> str:
    """Return 'a', 'a and b' or 'a, b and c'."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def join_approaches(names: Sequence[str]) -> str:
    """Return 'MTTL and STTL' for mttl and sttl."""
    return join_and([approach_name(name) for name in names])


def is_phantom(work: WorkFolder) -> bool:
    """Return whether a collection is simulated."""
    return any("simulated" in c["truth_source"] for c in work.results["collections"])


def tasks_of(work: WorkFolder, approach: str) -> list[str]:
    """Return the training collections of an approach."""
    return next(run["tasks"] for run in work.runs if run["approach"] == approach)


def permuted_labels(work: WorkFolder, approach: str) -> str:
    """Return ' with permuted labels of ddsm and dm', or '' if an approach permutes none."""
    run = next(run for run in work.runs if run["approach"] == approach)
    permuted = run.get("labels_permuted")
    return f" with permuted labels of {join_and(permuted)}" if permuted else ""


def question(work: WorkFolder) -> str:
    """Return the question of the study, the title of the report."""
    target = work.results["target"]
    tested = [a for a in work.approaches if tasks_of(work, a)[0] == target]
    first, *others = tested or work.approaches
    if work.last_stage["question"]:
        return work.last_stage["question"]
    if not others:
        return (
            f"How well does a network trained on {_training_data(work, first)} classify unseen "
            f"lesions of {target} as malignant or benign?"
        )
    same_tasks = all(tasks_of(work, a) == tasks_of(work, first) for a in others)
    if same_tasks and len(list_starts(work)) > 1:
        names = [approach_name(approach) for approach in (first, *others)]
        return (
            f"Which network, trained on {join_and(tasks_of(work, first))}, classifies lesions of "
            f"{target} as malignant or benign best: {', '.join(names[:-1])} or {names[-1]}?"
        )
    trained = [_training_data(work, approach) for approach in (first, *others)]
    return (
        f"Does a network trained on {trained[0]} classify lesions of {target} as malignant or "
        f"benign better than a network trained on {' or '.join(trained[1:])}?"
    )


def _training_data(work: WorkFolder, approach: str) -> str:
    tasks = tasks_of(work, approach)
    only = "" if len(tasks) > 1 else " only"
    labels = permuted_labels(work, approach)
    return f"{join_and(tasks)}{only}{labels} ({approach_name(approach)})"


def warnings(work: WorkFolder) -> list[str]:
    """Return the limitations of the results, the most serious first, except PHANTOM_NOTICE."""
    results = work.results
    texts = [*_mixed(work), *_equal_scores(work), *_weak(work), *_few_patients(work)]
    texts += [
        f"{collection['name']}: {patient_notes.GROUPS_NOTE}."
        for collection in results["collections"]
        if work.cases_are(collection["name"]) == GROUPS
    ]
    if blank_mm := work.config["data"].get("roi", {}).get("blank_mm"):
        texts.append(
            f"A disc of {blank_mm:g} mm in the center of each ROI was blanked, as a control: the"
            " AUCs show what the surroundings of the lesions predict."
        )
    starts = list_starts(work)
    for start in starts:
        if start.builtin:
            of = f" of {join_approaches(start.approaches)}" if len(starts) > 1 else ""
            texts.append(
                f"The initial weights{of} are not ImageNet weights; the results are not those of "
                f"transfer learning from ImageNet. {start.weights['note']}"
            )
    near_duplicates = work.folds.get("alike", [])
    if near_duplicates:
        a, b = near_duplicates[0]["a"], near_duplicates[0]["b"]
        texts.append(
            f"{len(near_duplicates)} pairs of near-duplicate ROIs with different case ids are on "
            f"different sides of a split, such as {a} and {b}: if they show the same film, it was "
            "used for training and evaluation (folds.json lists all pairs)."
        )
    similar = work.folds.get("similar_ids", [])
    if similar:
        texts.append(f"{patient_notes.similar_ids_note(similar)}.")
    for name, public in work.folds.get("ids_look_like", {}).items():
        texts.append(f"{name}: {patient_notes.id_format_note(public)}.")
    for collection in results["collections"]:
        other = [t for t in collection["truth_source"] if t not in ("biopsy", "simulated")]
        if other:
            texts.append(
                f"The reference standard of {collection['name']} is not biopsy for all lesions: "
                f"{', '.join(other)}."
            )
    for approach in work.approaches:
        fits = target_training_aucs(work, approach)
        if fits and min(fits) < MIN_TRAINING_AUC:
            texts.append(
                f"{approach_name(approach)} may be underfitted (training AUC "
                f"{format_number(min(fits))}): longer training may change its results."
            )
        if labels := permuted_labels(work, approach):
            texts.append(
                f"{approach_name(approach)} is a control, trained{labels}: its AUC shows the effect"
                " of more images without the meaning of their labels."
            )
    return texts + _fit_statuses(work)


def _fit_statuses(work: WorkFolder) -> list[str]:
    """Return a text for each status other than ok; single folds are in the tables only."""
    aucs_by_status: dict[tuple[str, str], list[str]] = {}
    for row in work.results["auc"] if work.compares_approaches else []:
        if row["status"] != "ok" and row["estimator"] not in SECONDARY_ESTIMATORS:
            auc = f"{approach_name(row['study'])}, {row['task']}, {row['unit']} level"
            key = method_name(row["method"]), row["status"]
            aucs_by_status.setdefault(key, []).append(auc)
    texts = []
    for (name, status), aucs in aucs_by_status.items():
        role = " and is not used as the primary result" if name == METHODS["proper"] else ""
        texts.append(f"The {name} AUC has status {status} (docs/roc.md){role}: {'; '.join(aucs)}.")
    return texts


def target_training_aucs(
    work: WorkFolder, approach: str, condition: Mapping[str, Any] = MappingProxyType({})
) -> list[float]:
    """Return the training AUC of the target in each run of an approach.

    `condition` restricts network, split and number of training cases, where given.
    """
    target = work.results["target"]
    fields = [name for name in ("network", "split", "target_cases") if name in condition]
    aucs = [
        run["train_auc"].get(target)
        for run in work.runs
        if run["approach"] == approach and all(run[f] == condition[f] for f in fields)
    ]
    return [auc for auc in aucs if auc is not None]


def is_mixed(work: WorkFolder) -> bool:
    """Return whether the runs, or the epochs of one run, used several versions or platforms."""
    return work.results.get("provenance", {}).get("mixed", False)


def _mixed(work: WorkFolder) -> list[str]:
    if not is_mixed(work):
        return []
    versions = work.results["provenance"]["versions"]
    names = [name for name in versions[0] if len({v.get(name) for v in versions}) > 1]
    texts = [", ".join(f"{name} {version.get(name)}" for name in names) for version in versions]
    return [
        f"Mixed versions: the results were computed with {len(versions)} combinations of versions "
        f"or platforms ({'; '.join(texts)}), accepted by --accept_versions. Differences between "
        "runs may be differences between versions."
    ]


def _equal_scores(work: WorkFolder) -> list[str]:
    """Return a text for each collection that some runs give equal scores, the target first."""
    target, runs_by_collection = work.results["target"], dict[str, list[str]]()
    for entry in work.results.get("equal_scores", []):
        runs_by_collection.setdefault(entry["collection"], []).append(entry["run"])
    texts = []
    for name, runs in sorted(runs_by_collection.items(), key=lambda item: item[0] != target):
        n = sum(run["rois_scored"].get(name, 0) > 0 for run in work.results["runs"])
        failed = "These networks did not learn: a lower config.train.learning_rate can help."
        texts.append(
            f"{len(runs)} of the {n} runs that score {name} give more than half of its malignant "
            f"and of its benign ROIs the same score ({runs[0]}{', ...' if len(runs) > 1 else ''}). "
            f"AUCs, intervals and p-values on {name} that include these runs are not meaningful."
            f"{f' {failed}' if name == target else ''}"
        )
    return texts


def _weak(work: WorkFolder) -> list[str]:
    rows = work.headline_aucs("lesion")
    n = min((row["n_malignant"] + row["n_benign"] for row in rows), default=MIN_LESIONS)
    if n >= MIN_LESIONS:
        return []
    intervals = join_and(
        [f"{format_interval(row)} ({approach_name(row['study'])})" for row in rows]
    )
    return [
        f"Weak evidence: the evaluation set has only {n} lesions, and every AUC is uncertain; "
        f"lesion-level 95% CI {intervals}."
    ]


def _few_patients(work: WorkFolder) -> list[str]:
    primary = work.primary
    if primary is None:
        return []
    cases = min(row["n_cases"] for row in work.headline_aucs(primary["unit"]))
    if cases >= MIN_PATIENTS:
        return []
    clusters = work.clusters([primary["task"]])
    return [
        f"The primary analysis has {cases} {clusters}. In simulations with 34 to {MIN_PATIENTS} "
        "patients the type I error rate of the tests was up to 6.5% (nominal 5%); fewer patients "
        "were not simulated."
    ]
