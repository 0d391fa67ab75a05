"""Which Runs each stage of a study asks for, given what earlier stages chose.

Sections are those of Samala et al. 2017.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mtl_jax.config import SINGLE_TASK, STAGES, parse_task_weights
from mtl_jax.experiments.run_lists import (
    Approach,
    cross_validation_runs,
    expand_approaches,
    independent_test_runs,
)
from mtl_jax.types import Run

TEST_STAGES = ("test", "learning_curve")  # stages that score the independent test set


class Choice(NamedTuple):
    """What later stages go by: config's, until a stage has chosen."""

    split: int
    network: str

    def after(self, selection: dict[str, Any]) -> "Choice":
        return self._replace(**{name: found["chosen"] for name, found in selection.items()})


def make_runs(
    stage: str, c: ConfigDict, approaches: Sequence[Approach], choice: Choice
) -> list[Run]:
    """Return the runs of one stage, of `approaches`.

    Splits and depth are single-task, on the target alone (3.1, 3.2: "For the results discussed
    above, single-task transfer learning with only the SFM training set was used", 3.3).
    """
    seed, starts = c.seed, range(_n_initializations(stage, c))
    match stage:
        case "splits":
            splits = range(1, c.splits.count + 1)
            single = single_task_approach(c)
            return cross_validation_runs(single, c.splits.networks, splits, c.folds, seed, starts)
        case "depth":
            single, splits = single_task_approach(c), (choice.split,)
            return cross_validation_runs(single, c.depth.networks, splits, c.folds, seed, starts)
        case "cross_validation":
            networks, splits = (choice.network,), (choice.split,)
            return cross_validation_runs(approaches, networks, splits, c.folds, seed, starts)
        case "learning_curve":
            sizes = c.learning_curve.target_cases
            return independent_test_runs(approaches, choice.network, seed, starts, sizes)
        case "test":
            return independent_test_runs(approaches, choice.network, seed, starts)
    raise ValueError(f"no stage {stage!r}")


def single_task_approach(c: ConfigDict) -> list[Approach]:
    """Return the target alone, with the settings that an approach 'sttl' of config.approaches has,
    so that the stages share its runs."""
    target = c.data.target
    weights = parse_task_weights(c.train.task_weights)
    own = {name: weight for name, weight in weights.items() if name == target}
    return expand_approaches((SINGLE_TASK,), target, (target,), c.model.heads, own)


def _n_initializations(stage: str, c: ConfigDict) -> int:
    return c.learning_curve.subsets if stage == "learning_curve" else c[stage].initializations


def keeps_weights(run: Run, study: str) -> bool:
    """Return whether the weights of the run are kept: the first initialization of the stage that
    the study's answer comes from. The other runs choose, or are many."""
    last = study == "cross_validation" or (run.fold is None and run.target_cases is None)
    return last and run.initialization == 0


def n_partitions(c: ConfigDict) -> int:
    """Return how many random partitions into folds the study needs."""
    stages = STAGES[c.study]
    if "splits" in stages:
        return c.splits.count
    return 0 if set(stages) <= set(TEST_STAGES) else c.split
