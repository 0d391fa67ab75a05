"""Which Runs each stage of a study asks for, given what earlier stages chose. Trains nothing."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtl_jax.config import STAGES
from mtl_jax.nouns import Run
from mtl_jax.study.plan import Approach, on_test_set, out_of_fold

TESTS = ("test", "learning_curve")  # stages that score the independent test set


class Choice(NamedTuple):
    """What later stages go by: config's, until a stage has chosen."""

    split: int
    network: str

    def after(self, selection: dict[str, Any]) -> "Choice":
        return self._replace(**{name: found["chosen"] for name, found in selection.items()})


def runs_of(stage: str, c: ConfigDict, approaches: Sequence[Approach], choice: Choice) -> list[Run]:
    """The runs of one stage. Splits and depth are of the first approach alone."""
    first = approaches[:1]

    def seeds(count: int) -> range:
        return range(c.seed, c.seed + count)

    match stage:
        case "splits":
            deals = range(1, c.splits.count + 1)
            weights = seeds(c.splits.initializations)
            return out_of_fold(first, c.splits.networks, deals, c.folds, weights)
        case "depth":
            weights = seeds(c.depth.initializations)
            return out_of_fold(first, c.depth.networks, (choice.split,), c.folds, weights)
        case "cross_validation":
            return out_of_fold(approaches, (choice.network,), (choice.split,), c.folds, seeds(1))
        case "learning_curve":
            curve = c.learning_curve
            return on_test_set(approaches, choice.network, seeds(curve.draws), curve.target_cases)
        case "test":
            return on_test_set(approaches, choice.network, seeds(1))
    raise ValueError(f"no stage {stage!r}")


def of_last_stage(run: Run, study: str) -> bool:
    """Whether the run is one that the study's answer comes from; the others choose, or are many."""
    return study == "cross_validation" or (run.fold is None and run.target_cases is None)


def deal_count(c: ConfigDict) -> int:
    """How many deals into folds the study needs."""
    stages = STAGES[c.study]
    if "splits" in stages:
        return c.splits.count
    return 0 if set(stages) <= set(TESTS) else c.split
