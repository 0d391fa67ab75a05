"""Make the runs of each stage of a study from the config and the choices of earlier stages.

Sections are those of Samala et al. 2017.
"""

from collections.abc import Mapping, Sequence
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
    """The partition and freeze depth of later stages; the config gives the initial ones."""

    split: int
    network: str

    def update(self, selection: Mapping[str, Mapping[str, Any]]) -> "Choice":
        """Return the choice after a stage with this selection."""
        return self._replace(**{name: rule["chosen"] for name, rule in selection.items()})


def make_runs(
    stage: str, c: ConfigDict, approaches: Sequence[Approach], choice: Choice
) -> list[Run]:
    """Return the runs of one stage.

    The stages splits and depth train on the target alone (3.1, 3.2: "For the results discussed
    above, single-task transfer learning with only the SFM training set was used", 3.3).
    """
    if stage == "learning_curve":
        sizes, initializations = c.learning_curve.target_cases, range(c.learning_curve.subsets)
    else:
        sizes, initializations = (None,), range(c[stage].initializations)
    if stage in TEST_STAGES:
        return independent_test_runs(approaches, choice.network, c.seed, initializations, sizes)
    partitions, networks = (choice.split,), (choice.network,)
    if stage in ("splits", "depth"):
        approaches, networks = _single_task_approach(c), c[stage].networks
    if stage == "splits":
        partitions = range(1, c.splits.count + 1)
    return cross_validation_runs(approaches, networks, partitions, c.folds, c.seed, initializations)


def _single_task_approach(c: ConfigDict) -> list[Approach]:
    """Return the approach on the target alone, with the settings that 'sttl' has in
    config.approaches, so that the stages share its runs."""
    target = c.data.target
    weights = parse_task_weights(c.train.task_weights)
    target_weight = {name: weight for name, weight in weights.items() if name == target}
    return expand_approaches((SINGLE_TASK,), target, (target,), c.model.heads, target_weight)


def keeps_weights(run: Run, study: str) -> bool:
    """Return whether the weights of the run are kept by default: those of the first initialization
    in the stage that gives the main result of the study."""
    main = study == "cross_validation" or (run.fold is None and run.target_cases is None)
    return main and run.initialization == 0


def n_partitions(c: ConfigDict) -> int:
    """Return the number of random partitions into folds that the study needs."""
    stages = STAGES[c.study]
    if "splits" in stages:
        return c.splits.count
    return 0 if set(stages) <= set(TEST_STAGES) else c.split
