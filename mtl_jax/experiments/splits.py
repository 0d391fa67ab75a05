"""The split of the target collection into training cases, folds and test set (folds.json)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.data import folds, patients
from mtl_jax.types import InputError, RoiSet, Run


class Split(NamedTuple):
    """The case ids of each training and test set of a job."""

    target: str  # name of the target collection
    train: list[str]  # training cases of the target
    test: list[str]  # test cases of the target; empty if no stage needs a test set
    partitions: list[list[list[str]]]  # partitions of `train` into folds
    rule: str  # how the cases of the target were split
    # The test cases of each other collection that is evaluated.
    auxiliary_tests: Mapping[str, list[str]] = MappingProxyType({})
    seed: int = 0  # config.split_seed; subsets of the training cases are drawn from it as well
    # The cases of each collection whose patients are in a test set: no run trains on them.
    excluded: Mapping[str, list[str]] = MappingProxyType({})
    # For each collection, the number of excluded cases and ROIs that are in no test set of its own.
    excluded_counts: Mapping[str, Mapping[str, int]] = MappingProxyType({})
    # Collections whose marked test set is used for training, because the job does not evaluate it.
    official_tests_in_training: tuple[str, ...] = ()

    @property
    def evaluated(self) -> dict[str, list[str]]:
        """The test cases of each collection that has a test set in this job, the target first."""
        target = {self.target: self.test} if self.test else {}
        return target | dict(self.auxiliary_tests)

    def excluded_cases(self, name: str) -> set[str]:
        """Return the cases of a collection that no run trains on: its test cases, and those of
        patients in another test set."""
        return {*self.evaluated.get(name, ()), *self.excluded.get(name, ())}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Split":
        """Return the split that folds.json records."""
        return cls(
            target=record["target"],
            train=record["train"],
            test=record["test"],
            partitions=[list(parts.values()) for parts in record["splits"].values()],
            rule=record["rule"],
            auxiliary_tests=record["test_of_others"],
            seed=record["split_seed"],
            excluded=record["never_learned"],
            excluded_counts=record["held_out"],
            official_tests_in_training=tuple(record["official_test_learned"]),
        )

    def record(self) -> dict[str, Any]:
        """Return the content of folds.json."""
        numbered = [{str(i + 1): part for i, part in enumerate(parts)} for parts in self.partitions]
        return {
            "target": self.target,
            "rule": self.rule,
            "train": self.train,
            "test": self.test,
            "folds": numbered[0] if numbered else {},
            "splits": {str(i + 1): parts for i, parts in enumerate(numbered)},
            "test_of_others": dict(self.auxiliary_tests),
            "split_seed": self.seed,
            "evaluated": self.evaluated,
            "never_learned": dict(self.excluded),
            "held_out": {name: dict(counts) for name, counts in self.excluded_counts.items()},
            "official_test_learned": list(self.official_tests_in_training),
        }


class SplitRules(NamedTuple):
    """How to split the target: whether a test set is needed, the number of partitions and of folds
    in each, the fraction of the cases in a random test set, and the seed."""

    needs_test: bool
    n_partitions: int
    n_folds: int
    test_fraction: float
    seed: int


def make_split(
    collections: Mapping[str, RoiSet], target: str, auxiliaries: Sequence[str], rules: SplitRules
) -> Split:
    """Return the test sets of the job and the folds of the target's training cases.

    A collection that marks a test set keeps it; otherwise its test set is drawn at random by case.
    No patient of a test set is in the training set of any collection. `auxiliaries` are the
    collections beside the target that are evaluated on a test set.
    """
    rois = collections[target]
    train, test, rule = _split_target(rois, rules)
    if rules.needs_test and not test:
        raise InputError(
            f"collection {target} marks no test set and config.data.test_fraction is 0; give "
            "config.data.test_fraction a value, or set config.study to 'cross_validation'"
        )
    test_patients = patients.patients_of(rois, test)
    training_patients = patients.patients_of(rois, train) - test_patients
    tests: dict[str, list[str]] = {}
    for name in auxiliaries:
        auxiliary = collections[name]
        tests[name] = _auxiliary_test_cases(auxiliary, test_patients, training_patients, rules)
        test_patients |= patients.patients_of(auxiliary, tests[name])
    excluded = {
        name: sorted(patients.cases_of_patients(collection, test_patients))
        for name, collection in collections.items()
        if test_patients
    }
    train = sorted(train - set(excluded.get(target, ())))
    partitions = _make_partitions(rois, train, rules)
    if partitions:
        times = f", {rules.n_partitions} partitions" if rules.n_partitions > 1 else ""
        rule += (
            f"; {rules.n_folds} folds at random, stratified by class{times}, split seed"
            f" {rules.seed}"
        )
    split = Split(target, train, test, partitions, rule, tests, rules.seed, excluded)
    return split._replace(
        excluded_counts=_count_excluded(collections, split),
        official_tests_in_training=tuple(
            name
            for name, collection in collections.items()
            if name not in (target, *auxiliaries) and _marked_cases(collection.index, "test")
        ),
    )


def _split_target(rois: RoiSet, rules: SplitRules) -> tuple[set[str], list[str], str]:
    """Return training cases, test cases and the rule: the marked split, else a random one."""
    index = rois.index
    official = _marked_cases(index, "test")
    cases = folds.case_labels(index["case_id"], index["label"])
    if len(set(cases.values())) < 2:
        kind = "malignant" if 1 in cases.values() else "benign"
        raise InputError(
            f"collection {rois.name}: all {len(cases)} cases are {kind}; config.data.target must "
            "name a collection with both classes"
        )
    if official:
        train = _marked_cases(index, "train", "")
        test, rule = sorted(official), "the collection's own test set"
    elif rules.test_fraction > 0:
        test = folds.hold_out(cases, rules.test_fraction, rules.seed, rois.name)
        train = set(cases) - set(test)
        rule = (
            f"{rules.test_fraction:g} of the cases at random, stratified by class, split seed"
            f" {rules.seed}"
        )
    else:
        train, test, rule = set(cases), [], "no test set"
    folds.reject_leaks({"the training set": sorted(train), "the test set": test})
    return train, test, rule


def _auxiliary_test_cases(
    rois: RoiSet, test_patients: set[str], training_patients: set[str], rules: SplitRules
) -> list[str]:
    """Return the test cases of a collection other than the target: the marked ones, else random.

    A random test set contains every patient of an earlier test set, and avoids the training
    patients of the target.
    """
    official = _marked_cases(rois.index, "test")
    if official:
        return sorted(official)
    if rules.test_fraction <= 0:
        return []
    cases = folds.case_labels(rois.index["case_id"], rois.index["label"])
    include = patients.cases_of_patients(rois, test_patients)
    avoid = patients.cases_of_patients(rois, training_patients)
    return folds.hold_out(cases, rules.test_fraction, rules.seed, rois.name, include, avoid)


def _make_partitions(rois: RoiSet, train: list[str], rules: SplitRules) -> list[list[list[str]]]:
    """Return the random partitions of the training cases into folds."""
    labels = folds.case_labels(rois.index["case_id"], rois.index["label"])
    train_labels = {case: labels[case] for case in train}
    partitions = [
        folds.partition(train_labels, rules.n_folds, rules.seed, number, rois.name)
        for number in range(1, rules.n_partitions + 1)
    ]
    for parts in partitions:
        folds.reject_leaks({f"fold {i + 1}": part for i, part in enumerate(parts)})
    return partitions


def _count_excluded(collections: Mapping[str, RoiSet], split: Split) -> dict[str, dict[str, int]]:
    """Return Split.excluded_counts: cases and ROIs excluded from all runs, and the largest number
    that the run of a single fold excludes in addition."""
    counts = {}
    target_patients = patients.patient_of_case(collections[split.target])
    for name, rois in collections.items():
        test, excluded = set(split.evaluated.get(name, ())), set(split.excluded.get(name, ()))
        patient_cases: dict[str, list[str]] = {}  # empty if each case is one patient
        for case, patient in patients.patient_of_case(rois).items():
            patient_cases.setdefault(patient, []).append(case)
        cases_by_run = [excluded - test]
        if target_patients and patient_cases:
            for part in (part for parts in split.partitions for part in parts):
                fold = {c for case in part for c in patient_cases.get(target_patients[case], ())}
                scored = set(part) if name == split.target else set()
                cases_by_run.append(fold - excluded - test - scored)
        if any(cases_by_run):
            case_ids = rois.index["case_id"]
            rois_by_run = [int(_is_in(case_ids, cases).sum()) for cases in cases_by_run]
            counts[name] = {
                "cases": len(cases_by_run[0]),
                "rois": rois_by_run[0],
                "cases_in_a_fold": max(map(len, cases_by_run[1:]), default=0),
                "rois_in_a_fold": max(rois_by_run[1:], default=0),
            }
    return counts


def run_rows(
    run: Run, collections: Mapping[str, RoiSet], split: Split
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the index rows of each collection that a run trains on, and those that it scores.

    A run of a fold trains on the other folds of the target and scores its fold. Any other run
    trains on all training cases of the target, or on a subset of `run.target_cases`, and scores the
    test sets. Auxiliary collections are used whole (section 3.3), including a marked test set that
    is not evaluated. Patients of a test set or of the scored fold are excluded from all of them.
    """
    fold = [] if run.fold is None else split.partitions[run.split - 1][run.fold]
    fold_patients = patients.patients_of(collections[split.target], fold) if fold else set()
    training, scored = {}, {}
    for task in run.tasks:
        rois = collections[task]
        case_ids = rois.index["case_id"]
        test = set(split.evaluated.get(task, ()))
        excluded = split.excluded_cases(task) | patients.cases_of_patients(rois, fold_patients)
        if task == split.target:
            is_training = _is_in(case_ids, set(split.train) - excluded)
            if run.target_cases is not None:
                labels = folds.case_labels(case_ids[is_training], rois.index["label"][is_training])
                number = run.initialization
                subset = folds.subset(labels, run.target_cases, split.seed, number, task)
                is_training = _is_in(case_ids, set(subset))
        else:
            is_training = ~_is_in(case_ids, excluded)
        fold_cases = set(fold) if task == split.target else set()
        training[task] = _row_numbers(is_training)
        scored[task] = _row_numbers(_is_in(case_ids, test if run.fold is None else fold_cases))
    return training, scored


def reject_unfit(run: Run, collections: Mapping[str, RoiSet], split: Split) -> None:
    """Raise InputError if a run cannot be trained or evaluated.

    The target needs both classes among its training ROIs and among its scored ROIs; any other
    collection needs at least one training ROI.
    """
    training, scored = run_rows(run, collections, split)
    for name in run.tasks:
        if not len(training[name]):
            reason = ", as its patients are in a test set or the held-out fold"
            cure = "remove it from config.data.sources"
            if name == run.tasks[0]:
                cure = (
                    "leave some of its cases out of the test set (data.test_fraction,"
                    " data.phantom.test_fraction or the column split)"
                )
            raise InputError(
                f"run {run.id}: {name} has no training ROI"
                f"{reason if name in split.excluded_counts else ''}; {cure}"
            )
    target = run.tasks[0]
    labels = collections[target].index["label"]
    for rows, kind in ((training[target], "training"), (scored[target], "scored")):
        if len(np.unique(labels[rows])) < 2:
            raise InputError(
                f"run {run.id}: the {len(rows)} {kind} ROIs of {target} are of one class; add"
                " cases of the other class, or set another config.split_seed"
            )


def _marked_cases(index: Mapping[str, np.ndarray], *marks: str) -> set[str]:
    """Return the cases whose column `split` is one of `marks`."""
    return set(map(str, index["case_id"][np.isin(index["split"], marks)]))


def _is_in(case_ids: np.ndarray, cases: set[str]) -> np.ndarray:
    """Return which ids are in `cases`, (n,) bool. np.isin would copy the texts several times."""
    return np.fromiter((case in cases for case in case_ids), bool, len(case_ids))


def _row_numbers(mask: np.ndarray) -> np.ndarray:
    """Return the rows where `mask` is true, as int32: half the memory of NumPy's int64."""
    return np.flatnonzero(mask).astype(np.int32)
