"""Who learns and who is tested, as folds.json records it before any training."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mtl_jax.data import folds
from mtl_jax.nouns import InputError, RoiSet, Run


class Split(NamedTuple):
    """Case ids of the target collection, and what was decided.

    Each of `partitions` divides the cases of `train` into folds; there is none where no stage
    needs one. `test` is the independent test set, never learned; `others` are the test cases held
    out of other collections, which are never learned either. `seed` is config.split_seed, from
    which subsets of the training cases are drawn as well.
    """

    target: str
    train: list[str]
    test: list[str]
    partitions: list[list[list[str]]]
    rule: str
    others: Mapping[str, list[str]] = MappingProxyType({})
    seed: int = 0

    @classmethod
    def from_record(cls, folds: Mapping[str, Any]) -> "Split":
        """The Split that folds.json records."""
        partitions = [list(parts.values()) for parts in folds["splits"].values()]
        return cls(
            folds["target"],
            folds["train"],
            folds["test"],
            partitions,
            folds["rule"],
            folds["test_of_others"],
            folds["split_seed"],
        )

    def record(self) -> dict[str, Any]:
        """What folds.json holds."""
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
        }


def split_target(
    rois: RoiSet,
    needs_test: bool,
    n_partitions: int,
    fold_count: int,
    test_fraction: float,
    seed: int,
) -> Split:
    """Split the cases of the target collection by its official split, else at random by case, and
    partition the training cases into folds `n_partitions` times."""
    index = rois.index
    official = _cases_with(index, "test")
    cases = folds.case_labels(index["case_id"], index["label"])
    if len(set(cases.values())) < 2:
        kind = "malignant" if 1 in cases.values() else "benign"
        raise InputError(
            f"collection {rois.name}: all {len(cases)} cases are {kind}; config.data.target must "
            "name a collection with both classes"
        )
    if official:
        train = _cases_with(index, "train", "")
        test, rule = sorted(official), "the collection's own test set"
    elif test_fraction > 0:
        test = folds.hold_out(cases, test_fraction, seed, rois.name)
        train = set(cases) - set(test)
        rule = f"{test_fraction:g} of the cases at random, stratified by class, split seed {seed}"
    else:
        train, test, rule = set(cases), [], "no test set"
    folds.refuse_leaks({"the training set": sorted(train), "the test set": test})
    if needs_test and not test:
        raise InputError(
            f"collection {rois.name} marks no test set and config.data.test_fraction is 0; give "
            "config.data.test_fraction a value, or set config.study to 'cross_validation'"
        )
    learned = {case: cases[case] for case in sorted(train)} if n_partitions else {}
    partitions = [
        folds.partition(learned, fold_count, seed, split, rois.name)
        for split in range(1, n_partitions + 1)
    ]
    for parts in partitions:
        folds.refuse_leaks({f"fold {i + 1}": part for i, part in enumerate(parts)})
    if partitions:
        times = f", {n_partitions} partitions" if n_partitions > 1 else ""
        rule += f"; {fold_count} folds at random, stratified by class{times}, split seed {seed}"
    return Split(rois.name, sorted(train), test, partitions, rule, seed=seed)


def hold_out_others(
    split: Split, collections: Mapping[str, RoiSet], fraction: float, seed: int
) -> Split:
    """`split` with test cases held out of every other collection that marks none of its own."""
    others = {}
    for name, rois in collections.items():
        if name != split.target and not _cases_with(rois.index, "test"):
            cases = folds.case_labels(rois.index["case_id"], rois.index["label"])
            others[name] = folds.hold_out(cases, fraction, seed, name)
    return split._replace(others=others)


def members(
    run: Run, collections: Mapping[str, RoiSet], split: Split
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Rows of each collection that this run learns, and rows that it scores.

    The target: all folds but the one held out, which is scored; or all training cases, or as many
    as the run says, and the test set is scored. The others: added whole (section 3.3) but for
    their own test sets, which are never learned, and scored where the target's is.
    """
    learned, scored = {}, {}
    for task in run.tasks:
        index = collections[task].index
        case = index["case_id"]
        if task == split.target:
            held_out = set(
                split.test if run.fold is None else split.partitions[run.split - 1][run.fold]
            )
            kept = _are_in(case, set(split.train) - held_out)
            if run.target_cases is not None:
                labels = folds.case_labels(case[kept], index["label"][kept])
                chosen = folds.subset(
                    labels, run.target_cases, split.seed, run.initialization, task
                )
                kept = _are_in(case, set(chosen))
        else:
            held_out = _cases_with(index, "test") | set(split.others.get(task, ()))
            kept = ~_are_in(case, held_out)
            held_out = held_out if run.fold is None else set()
        learned[task] = _numbers(kept)
        scored[task] = _numbers(_are_in(case, held_out))
    return learned, scored


def refuse_unfit(run: Run, collections: Mapping[str, RoiSet], split: Split) -> None:
    """InputError where a run could not learn or its result not be measured: the target needs both
    classes to learn and to score, any other collection at least one region to learn."""
    learned, scored = members(run, collections, split)
    for name in run.tasks:
        if not len(learned[name]):
            raise InputError(f"run {run.id}: {name} has no training region; leave it out")
    target = run.tasks[0]
    label = collections[target].index["label"]
    for rows, what in ((learned[target], "training"), (scored[target], "scored")):
        if len(np.unique(label[rows])) < 2:
            raise InputError(
                f"run {run.id}: the {len(rows)} {what} regions of {target} are of one class; add"
                " cases of the other, or change its split"
            )


def _cases_with(index: Mapping[str, np.ndarray], *marks: str) -> set[str]:
    which = np.any([index["split"] == mark for mark in marks], axis=0)
    return set(map(str, index["case_id"][which]))


def _are_in(case: np.ndarray, cases: set[str]) -> np.ndarray:
    """Whether each is one of `cases`, (n,) bool; np.isin would take several copies of the texts."""
    return np.fromiter((one in cases for one in case), bool, len(case))


def _numbers(kept: np.ndarray) -> np.ndarray:
    """Of the rows that are kept, in half the space that NumPy takes."""
    return np.flatnonzero(kept).astype(np.int32)
