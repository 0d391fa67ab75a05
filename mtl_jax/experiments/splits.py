"""Who learns and who is tested, as folds.json records it before any training."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.data import folds, patients
from mtl_jax.types import InputError, RoiSet, Run


class Split(NamedTuple):
    """Case ids of the target collection, and what was decided.

    Each of `partitions` divides the cases of `train` into folds; there is none where no stage
    needs one. `test` is the target's independent test set and `others` those of the other
    collections that are evaluated. `never` are the cases of each collection that no run learns,
    since their patients are in one of these; `held_out` counts those of them that are in no test
    set of their own collection. `official_learned` are the collections that mark a test set which
    is learned, being no evaluated one. `seed` is config.split_seed, from which subsets of the
    training cases are drawn as well.
    """

    target: str
    train: list[str]
    test: list[str]
    partitions: list[list[list[str]]]
    rule: str
    others: Mapping[str, list[str]] = MappingProxyType({})
    seed: int = 0
    never: Mapping[str, list[str]] = MappingProxyType({})
    held_out: Mapping[str, Mapping[str, int]] = MappingProxyType({})
    official_learned: tuple[str, ...] = ()

    @property
    def evaluated(self) -> dict[str, list[str]]:
        """The test cases of each collection that has a test set in this job, the target first."""
        return {self.target: self.test, **self.others} if self.test else dict(self.others)

    @classmethod
    def from_record(cls, folds: Mapping[str, Any]) -> "Split":
        """Return the Split that folds.json records."""
        partitions = [list(parts.values()) for parts in folds["splits"].values()]
        return cls(
            folds["target"],
            folds["train"],
            folds["test"],
            partitions,
            folds["rule"],
            folds["test_of_others"],
            folds["split_seed"],
            folds["never_learned"],
            folds["held_out"],
            tuple(folds["official_test_learned"]),
        )

    def record(self) -> dict[str, Any]:
        """Return what folds.json holds."""
        numbered = [{str(i + 1): part for i, part in enumerate(folds)} for folds in self.partitions]
        return {
            "target": self.target,
            "rule": self.rule,
            "train": self.train,
            "test": self.test,
            "folds": numbered[0] if numbered else {},
            "splits": {str(i + 1): folds for i, folds in enumerate(numbered)},
            "test_of_others": dict(self.others),
            "split_seed": self.seed,
            "evaluated": self.evaluated,
            "never_learned": dict(self.never),
            "held_out": {name: dict(counts) for name, counts in self.held_out.items()},
            "official_test_learned": list(self.official_learned),
        }


class SplitRules(NamedTuple):
    """How the cases are divided: whether a stage needs a test set, how many partitions into how
    many folds, and for test sets that are drawn their share of the cases; the seed of both."""

    needs_test: bool
    partitions: int
    folds: int
    test_fraction: float
    seed: int


def split_target(
    rois: RoiSet,
    needs_test: bool,
    n_partitions: int,
    fold_count: int,
    test_fraction: float,
    seed: int,
) -> Split:
    """Return `make_split` of a target that is alone."""
    rules = SplitRules(needs_test, n_partitions, fold_count, test_fraction, seed)
    return make_split({rois.name: rois}, rois.name, (), rules)


def make_split(
    collections: Mapping[str, RoiSet], target: str, others: Sequence[str], rules: SplitRules
) -> Split:
    """Return the test set of the target and of each of `others`, the collections that are
    evaluated as well; and folds of the target's cases whose patients are in none of these.

    A test set is the collection's own, else drawn at random by case. `collections` know their
    patients: none of a test set is learned in any collection.
    """
    rois = collections[target]
    train, test, rule = _target_split(rois, rules)
    if rules.needs_test and not test:
        raise InputError(
            f"collection {target} marks no test set and config.data.test_fraction is 0; give "
            "config.data.test_fraction a value, or set config.study to 'cross_validation'"
        )
    tested = patients.patients_of(rois, test)
    may_be_learned = patients.patients_of(rois, train) - tested
    tests: dict[str, list[str]] = {}
    for name in others:
        tests[name] = _auxiliary_test_cases(collections[name], tested, may_be_learned, rules)
        tested |= patients.patients_of(collections[name], tests[name])
    never = {
        name: sorted(patients.cases_of_patients(one, tested))
        for name, one in collections.items()
        if tested
    }
    train = sorted(train - set(never.get(target, ())))
    partitions = []
    if rules.partitions:
        cases = folds.case_labels(rois.index["case_id"], rois.index["label"])
        learned = {case: cases[case] for case in train}
        partitions = [
            folds.partition(learned, rules.folds, rules.seed, number, target)
            for number in range(1, rules.partitions + 1)
        ]
        times = f", {rules.partitions} partitions" if rules.partitions > 1 else ""
        rule += (
            f"; {rules.folds} folds at random, stratified by class{times}, split seed {rules.seed}"
        )
    for parts in partitions:
        folds.reject_leaks({f"fold {i + 1}": part for i, part in enumerate(parts)})
    split = Split(target, train, test, partitions, rule, tests, rules.seed, never)
    return split._replace(
        held_out=_count_held_out(collections, split),
        official_learned=tuple(
            name
            for name, one in collections.items()
            if name not in (target, *others) and _cases_marked(one.index, "test")
        ),
    )


def _target_split(rois: RoiSet, rules: SplitRules) -> tuple[set[str], list[str], str]:
    """Training and test cases of the target by its own split, else at random, and the rule."""
    index = rois.index
    official = _cases_marked(index, "test")
    cases = folds.case_labels(index["case_id"], index["label"])
    if len(set(cases.values())) < 2:
        kind = "malignant" if 1 in cases.values() else "benign"
        raise InputError(
            f"collection {rois.name}: all {len(cases)} cases are {kind}; config.data.target must "
            "name a collection with both classes"
        )
    if official:
        train = _cases_marked(index, "train", "")
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
    rois: RoiSet, tested: set[str], may_be_learned: set[str], rules: SplitRules
) -> list[str]:
    """Return the test cases of an evaluated collection that is not the target: its own, else drawn
    so that patients who are tested already are in it and, if others are enough, none whom the
    target would learn."""
    official = _cases_marked(rois.index, "test")
    if official:
        return sorted(official)
    if rules.test_fraction <= 0:
        return []
    cases = folds.case_labels(rois.index["case_id"], rois.index["label"])
    first = patients.cases_of_patients(rois, tested)
    last = patients.cases_of_patients(rois, may_be_learned)
    return folds.hold_out(cases, rules.test_fraction, rules.seed, rois.name, first, last)


def _count_held_out(collections: Mapping[str, RoiSet], split: Split) -> dict[str, dict[str, int]]:
    """Cases and ROIs of each collection that are not learned, though in no test set of it, for
    their patients' sake: in no run, and in the run of a fold at most beside those."""
    found = {}
    who = patients.patient_of_case(collections[split.target])
    for name, rois in collections.items():
        own, never = set(split.evaluated.get(name, ())), set(split.never.get(name, ()))
        cases: dict[str, list[str]] = {}  # of each patient; none where each case is another one
        for case, patient in patients.patient_of_case(rois).items():
            cases.setdefault(patient, []).append(case)
        left = [never - own]
        for part in (part for parts in split.partitions for part in parts if who and cases):
            beside = set(part) if name == split.target else set()
            of_fold = {case for one in part for case in cases.get(who[one], ())}
            left.append(of_fold - never - own - beside)
        if any(left):
            case = rois.index["case_id"]
            roi_counts = [int(_is_in(case, some).sum()) if some else 0 for some in left]
            found[name] = {
                "cases": len(left[0]),
                "rois": roi_counts[0],
                "cases_in_a_fold": max(map(len, left[1:]), default=0),
                "rois_in_a_fold": max(roi_counts[1:], default=0),
            }
    return found


def run_rows(
    run: Run, collections: Mapping[str, RoiSet], split: Split
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return rows of each collection that this run learns, and rows that it scores.

    The target: all folds but the one held out, which is scored; or all training cases, or as many
    as the run says, and the test set is scored. The others: added whole (section 3.3), a test set
    of their own included, but for those that are evaluated, whose test set is scored where the
    target's is. No patient of any test set of the job, nor of the fold held out, is learned in any
    collection.
    """
    target = collections[split.target] if split.target in collections else None
    part = [] if run.fold is None else split.partitions[run.split - 1][run.fold]
    of_fold = patients.patients_of(target, part) if target and part else set()
    learned, scored = {}, {}
    for task in run.tasks:
        rois = collections[task]
        case = rois.index["case_id"]
        tested = set(split.evaluated.get(task, ()))
        kept_out = (
            tested | set(split.never.get(task, ())) | patients.cases_of_patients(rois, of_fold)
        )
        if task == split.target:
            kept = _is_in(case, set(split.train) - kept_out)
            if run.target_cases is not None:
                labels = folds.case_labels(case[kept], rois.index["label"][kept])
                chosen = folds.subset(
                    labels, run.target_cases, split.seed, run.initialization, task
                )
                kept = _is_in(case, set(chosen))
            to_score = tested if run.fold is None else set(part)
        else:
            kept = ~_is_in(case, kept_out)
            to_score = tested if run.fold is None else set()
        learned[task] = _row_numbers(kept)
        scored[task] = _row_numbers(_is_in(case, to_score))
    return learned, scored


def reject_unfit(run: Run, collections: Mapping[str, RoiSet], split: Split) -> None:
    """Raise InputError if a run could not learn or its result not be measured: the target needs
    both classes to learn and to score, any other collection at least one ROI to learn."""
    learned, scored = run_rows(run, collections, split)
    for name in run.tasks:
        if not len(learned[name]):
            why = ", as its patients are in a test set or the fold held out"
            raise InputError(
                f"run {run.id}: {name} has no training ROI"
                f"{why if name in split.held_out else ''}; leave it out"
            )
    target = run.tasks[0]
    label = collections[target].index["label"]
    for rows, what in ((learned[target], "training"), (scored[target], "scored")):
        if len(np.unique(label[rows])) < 2:
            raise InputError(
                f"run {run.id}: the {len(rows)} {what} ROIs of {target} are of one class; add"
                " cases of the other, or change its split"
            )


def _cases_marked(index: Mapping[str, np.ndarray], *marks: str) -> set[str]:
    which = np.any([index["split"] == mark for mark in marks], axis=0)
    return set(map(str, index["case_id"][which]))


def _is_in(case: np.ndarray, cases: set[str]) -> np.ndarray:
    """Return whether each is one of `cases`, (n,) bool; np.isin would take several copies of the
    texts."""
    return np.fromiter((one in cases for one in case), bool, len(case))


def _row_numbers(kept: np.ndarray) -> np.ndarray:
    """Of the rows that are kept, in half the space that NumPy takes."""
    return np.flatnonzero(kept).astype(np.int32)
